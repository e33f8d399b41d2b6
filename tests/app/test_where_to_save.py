"""Links, devices, pipes, modes and owners of what a network is saved to."""

import contextlib
import os
import socket
import stat
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from idx import listing
from networks import bits, small_problem
from networks import save_a_network as save

import cnnx
from cnnx.storage import check_writable


@pytest.mark.parametrize("write", [save, check_writable], ids=["save", "check_writable"])
class TestWhatCannotBeWritten:
    """The error is `save`'s and that of the check before a long training; it names the path that was given."""

    def refuse(self, write, path, error, reason):
        before = listing(path.parent) if path.parent.is_dir() else None
        with pytest.raises(OSError, match=reason) as caught:
            write(path)
        assert type(caught.value) is error
        assert str(path) in str(caught.value)
        assert ".cnnx-" not in str(caught.value)
        assert before is None or listing(path.parent) == before

    def test_a_folder_that_is_not_there(self, tmp_path, write):
        self.refuse(write, tmp_path / "absent" / "file", FileNotFoundError, "No such file")

    def test_a_folder_that_is_a_file(self, saved, write):
        self.refuse(write, saved[1] / "file", NotADirectoryError, "Not a directory")

    def test_a_folder(self, tmp_path, write):
        (tmp_path / "folder").mkdir()
        self.refuse(write, tmp_path / "folder", IsADirectoryError, "Is a directory")

    def test_too_long_a_name(self, tmp_path, write):
        self.refuse(write, tmp_path / ("n" * 256), OSError, "name too long")

    def test_links_in_a_circle(self, tmp_path, write):
        (tmp_path / "link").symlink_to("link")
        self.refuse(write, tmp_path / "link", OSError, "symbolic links")

    def test_a_socket(self, tmp_path, write, monkeypatch):
        monkeypatch.chdir(tmp_path)  # its name may have 108 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
        self.refuse(write, tmp_path / "socket", OSError, "expected a file, got a socket")
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)

    def test_a_write_protected_file(self, write):
        with a_user_s_folder() as folder:
            path = folder / "file"
            path.write_bytes(b"old")
            path.chmod(0o444)
            self.refuse(write, path, PermissionError, "Permission denied")
            assert (path.read_bytes(), mode_of(path)) == (b"old", 0o444)

    def test_a_write_protected_folder(self, write):
        with a_user_s_folder() as folder:
            (folder / "folder").mkdir(mode=0o555)
            self.refuse(write, folder / "folder" / "file", PermissionError, "Permission denied")


@contextlib.contextmanager
def a_user_s_folder():
    """Give a folder of somebody whom a mode can stop, and be that user: 65534 in place of root."""
    with tempfile.TemporaryDirectory() as folder:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if is_root:
                os.seteuid(0)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_check_before_training_changes_nothing_and_leaves_nothing(saved, is_there):
    _, path = saved
    if not is_there:
        path.unlink()
    before = [(path.name, path.stat()) for path in path.parent.iterdir()]
    check_writable(path)
    assert [(path.name, path.stat()) for path in path.parent.iterdir()] == before


@pytest.mark.parametrize("target", ["file", "absent"])
@pytest.mark.parametrize("write", [save, check_writable], ids=["save", "check_writable"])
def test_a_link_is_followed(tmp_path, write, target):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(Path("there", target))
    (tmp_path / "link to link").symlink_to(tmp_path / "link")
    write(tmp_path / "link to link")
    assert (tmp_path / "link to link").readlink() == tmp_path / "link"
    assert (tmp_path / "link").readlink() == Path("there", target)
    assert listing(tmp_path) == ["link", "link to link", "there"]
    if write is save:
        assert listing(tmp_path / "there") == sorted({"file", target})
        assert bits(cnnx.load(tmp_path / "there" / target)) == bits(small_problem()[0])
    else:
        assert listing(tmp_path / "there") == ["file"]
        assert (tmp_path / "there" / "file").read_bytes() == b"old"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode_and_owner(saved, mode):
    network, path = saved
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    elif mode == 0o444:
        pytest.skip("only root may write it")
    path.chmod(mode)
    owner = path.stat().st_uid
    network.layers[0].filters *= 2
    network.save(path)
    assert (mode_of(path), path.stat().st_uid) == (mode, owner)
    assert bits(cnnx.load(path)) == bits(network)


def test_what_replaces_a_private_file_is_private_while_it_is_written(saved, monkeypatch):
    network, path = saved
    path.chmod(0o600)
    modes, savez = [], np.savez

    def watch(file, **arrays):
        modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        savez(file, **arrays)

    monkeypatch.setattr("numpy.savez", watch)
    network.save(path)
    assert modes == [0o600]


def test_a_new_file_has_the_mode_of_any_other_and_the_umask_is_not_touched(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")  # even to read it is to change it, for all threads
            save(tmp_path / "file")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == 0o640


@pytest.fixture
def device(tmp_path):
    """Give a function that returns the path of the device "null" or "full". Root gets a copy, to do no harm."""

    def named(name):
        path = Path("/dev", name)
        if not path.is_char_device():
            pytest.skip(f"no {path}")
        if os.geteuid() != 0:
            return path
        (tmp_path / "dev").mkdir()
        own = tmp_path / "dev" / name
        try:
            os.mknod(own, 0o666 | stat.S_IFCHR, path.stat().st_rdev)
            own.open("wb").close()
        except PermissionError:
            pytest.skip("no device may be made")
        return own

    return named


@pytest.mark.parametrize("write", [save, check_writable], ids=["save", "check_writable"])
def test_dev_null_takes_a_network_and_stays_a_device(tmp_path, device, write):
    null = device("null")
    (tmp_path / "link").symlink_to(null)
    write(tmp_path / "link")
    write(null)
    assert null.is_char_device()
    assert (tmp_path / "link").is_symlink()


def test_a_full_disk_is_named(tmp_path, device):
    (tmp_path / "link").symlink_to(device("full"))
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/link'"):
        save(tmp_path / "link")


def test_a_pipe_s_reader_gets_the_network(tmp_path):
    path, received = tmp_path / "pipe", []
    os.mkfifo(path)
    check_writable(path)  # does not wait
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    reader.start()
    save(path)
    reader.join(10)
    assert path.is_fifo()
    (tmp_path / "file").write_bytes(received[0])
    assert bits(cnnx.load(tmp_path / "file")) == bits(small_problem()[0])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_an_open_file_without_a_name_is_written_into(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        (tmp_path / "file").unlink()
        save(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "copy").write_bytes(file.read())
    assert listing(tmp_path) == ["copy"]
    assert bits(cnnx.load(tmp_path / "copy")) == bits(small_problem()[0])


def test_the_longest_name_is_a_name(tmp_path):
    save(tmp_path / ("n" * 255))
    assert listing(tmp_path) == ["n" * 255]
