"""All of MNIST through the `mnist` package: mirrors, the cache, and what a download leaves behind.

Mirrors are folders with file:// addresses, or servers on this machine.
"""

import errno
import gzip
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO

import mnist
import pytest
from idx import assert_same_digits, idx, listing, write

from cnnx import data
from cnnx.data import CANONICAL_MD5, DataError, load


@pytest.mark.smoke
@pytest.mark.usefixtures("mirrors")
def test_mnist_is_downloaded_once(cache, digits, monkeypatch):
    assert_same_digits(load("mnist"), digits)
    assert listing(cache) == sorted(f"{name}.gz" for name in CANONICAL_MD5)
    monkeypatch.setattr(data, "MIRRORS", ())
    assert_same_digits(load("mnist"), digits)


@pytest.mark.usefixtures("mirrors")
def test_mnist_is_cached_for_the_user(tmp_path, digits, monkeypatch):
    monkeypatch.delenv("CNNX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert_same_digits(load("mnist"), digits)
    assert len(listing(tmp_path / "caches" / "cnnx")) == 4
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_same_digits(load("mnist"), digits)
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    assert len(listing(tmp_path / "home" / caches / "cnnx")) == 4


@pytest.mark.parametrize("damage", ["absent", "truncated", "not the canonical bytes", "a web page"])
def test_the_second_mirror_serves_when_the_first_fails(mirrors, cache, digits, damage):
    path = mirrors[0] / "train-images-idx3-ubyte.gz"
    replacement = {
        "absent": None,
        "truncated": path.read_bytes()[:-20],
        "not the canonical bytes": gzip.compress(idx(digits["train_images"] ^ 1)),
        "a web page": b"<html>Log in to this network</html>",
    }[damage]
    path.unlink() if replacement is None else path.write_bytes(replacement)
    assert_same_digits(load("mnist"), digits)
    assert (cache / path.name).read_bytes() == (mirrors[1] / path.name).read_bytes()


def test_a_corrupt_download_never_becomes_the_cache(mirrors, cache, digits):
    wrong = gzip.compress(idx(digits["test_images"] ^ 1))
    for mirror in mirrors:
        write(mirror / "t10k-images-idx3-ubyte.gz", wrong)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: expected MNIST's canonical bytes with MD5"):
        load("mnist")
    assert listing(cache) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
@pytest.mark.usefixtures("mirrors")
def test_an_interrupted_download_leaves_nothing(cache, monkeypatch, interruption):
    class Half(BytesIO):
        def read(self, count):
            if half := super().read(count):
                return half
            raise interruption("stop")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Half(b"\x1f\x8b half"))
    with pytest.raises(interruption, match="stop"):
        load("mnist")
    assert listing(cache) == []


def settings_of_the_process():
    return mnist.datasets_url, mnist.temporary_dir, mnist.urlretrieve, sys.modules["mnist"], socket.getdefaulttimeout()


@pytest.fixture
def own_settings(monkeypatch):
    """Set what a user may have set, and return it."""
    monkeypatch.setattr(mnist, "datasets_url", "https://example.invalid/")
    monkeypatch.setattr(mnist, "temporary_dir", lambda: "folder")
    socket.setdefaulttimeout(7.0)
    yield settings_of_the_process()
    socket.setdefaulttimeout(None)


@pytest.mark.usefixtures("mirrors", "cache")
def test_a_download_leaves_the_process_as_it_was(own_settings):
    load("mnist")
    assert settings_of_the_process() == own_settings


@pytest.mark.usefixtures("mirrors", "cache", "offline")
def test_a_failed_download_leaves_the_process_as_it_was(own_settings):
    with pytest.raises(DataError, match="unreachable"):
        load("mnist")
    assert settings_of_the_process() == own_settings


@pytest.mark.usefixtures("mirrors", "cache")
def test_nobody_sees_a_download_s_settings_while_it_runs(own_settings, monkeypatch):
    seen, urlopen = [], urllib.request.urlopen

    def watch(*arguments, **options):
        seen.append(settings_of_the_process())
        return urlopen(*arguments, **options)

    monkeypatch.setattr("urllib.request.urlopen", watch)
    load("mnist")
    assert seen == [own_settings] * 4


@pytest.mark.usefixtures("mirrors", "cache")
def test_downloads_in_two_threads_do_not_wait_for_each_other(digits, monkeypatch):
    both_are_here, urlopen = threading.Barrier(2, timeout=20), urllib.request.urlopen

    def meet(*arguments, **options):
        both_are_here.wait()
        return urlopen(*arguments, **options)

    monkeypatch.setattr("urllib.request.urlopen", meet)
    with ThreadPoolExecutor(2) as pool:
        for loaded in pool.map(load, ["mnist"] * 2):
            assert_same_digits(loaded, digits)


@pytest.mark.usefixtures("cache")
def test_each_mirror_is_asked_and_may_not_keep_silent_for_ever(monkeypatch):
    asked = []

    def urlopen(url, *, timeout):
        asked.append((url, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(DataError, match="timed out"):
        load("mnist")
    assert asked == [(f"{mirror}train-images-idx3-ubyte.gz", 20.0) for mirror in data.MIRRORS]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n\x1f\x8b half"])
@pytest.mark.usefixtures("own_settings")
def test_a_mirror_that_falls_silent_is_given_up(mirrors, cache, digits, monkeypatch, answer):
    monkeypatch.setattr(data, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(data, "MIRRORS", (silent, f"{mirrors[1].as_uri()}/"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        held = []

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(answer)
                    held.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        assert_same_digits(load("mnist"), digits)
        server.shutdown(socket.SHUT_RDWR)
    assert len(held) == 4
    for connection in held:
        connection.close()
    assert listing(cache) == sorted(f"{name}.gz" for name in CANONICAL_MD5)


def test_an_error_of_a_download_names_no_scratch_file(mirrors, cache):
    for mirror in mirrors:
        write(mirror / "train-images-idx3-ubyte.gz", b"<html>")
    with pytest.raises(DataError, match=r"\(train-images-idx3-ubyte.gz: expected an IDX file") as error:
        load("mnist")
    assert ".download-" not in str(error.value)
    assert listing(cache) == []


@pytest.mark.usefixtures("mirrors")
def test_a_cache_that_takes_no_file_is_named_and_no_scratch_folder(cache, monkeypatch):
    def mkdtemp(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(cache / ".download-abc"))

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    with pytest.raises(DataError, match=rf"^{cache}: .*\(Permission denied\)") as error:
        load("mnist")
    assert ".download-" not in str(error.value)


def test_the_mirrors_are_https():
    assert [address[:8] for address in data.MIRRORS] == ["https://"] * 2


@pytest.mark.usefixtures("offline")
def test_offline_the_error_names_the_files_the_folder_and_the_mirrors(cache):
    write(cache / "train-labels-idx1-ubyte", b"present")
    with pytest.raises(DataError, match="cannot be downloaded") as error:
        load("mnist")
    message = str(error.value)
    assert message.startswith(f"{cache}: ")
    assert "put train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz there" in message
    assert "CNNX_DATA" in message
    for mirror in data.MIRRORS:
        assert f"{mirror} (the network is unreachable)" in message
    assert "\n" not in message


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.usefixtures("mirrors", "cache")
def test_progress_is_for_terminals(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    load("mnist")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"Downloading {n}.gz from {data.MIRRORS[0]}" for n in CANONICAL_MD5 if terminal]


def test_importing_the_module_imports_nothing_to_download_with():
    code = "import sys, cnnx.data; print(*{'mnist', 'urllib.request', 'http.client'} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout == "\n"
