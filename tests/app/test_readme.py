"""What the README and the pages of docs/ show is true: each block of code runs as it is written there.

- The `python` blocks of a page run in order, in one namespace. There are no exceptions.
- A `text` block right after a `python` block is what that block prints.
- The commands of `sh` blocks that train are run on few digits. The others are those that .ci/run or a nox session runs.
- A block for CMake is part of an example that .ci/run builds.

Nothing is downloaded: the sample takes the place of all of MNIST.
"""

import gzip
import re
import shlex
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pages import NEEDED

import cnnx
from cnnx.train import main

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
HAS_DOCS = (ROOT / "docs").is_dir()  # the sdist has no docs/ and no benchmarks/
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
KINDS = {"python", "sh", "text", "cmake"}
DIRECTIVES = {"{eval-rst}", "{literalinclude}", "{toctree}"}  # for Sphinx, which checks them
KNOWN_PROGRAMS = {"bash", "cmake", "mpiexec", "nox", "pip", "pre-commit", "pytest", "python"}
NUMBER = re.compile(r"\d+(?:\.\d+)?")
SAME_RUN = 0.03  # the same training on another CPU rounds differently, and may recognise a few other digits


def pages_with(kind):
    pages = [page for page in PAGES if any(found == kind for found, _ in BLOCK.findall(page.read_text("utf-8")))]
    parameters = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]
    if not HAS_DOCS:
        parameters.append(pytest.param(None, id="docs", marks=pytest.mark.skip("docs/ is not in the sdist")))
    return parameters


def blocks_of(page, kind):
    return [block for found, block in BLOCK.findall(page.read_text("utf-8")) if found == kind]


def commands():
    """Return all commands of all pages, each with its environment variables left out, once."""
    lines = [line for page in PAGES for block in blocks_of(page, "sh") for line in block.splitlines()]
    parts = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return sorted({tuple(word for word in part if not re.match(r"[A-Z_]+=", word)) for part in parts if part})


@pytest.fixture
def without_network(tmp_path, monkeypatch):
    """Run in an empty folder, where the sample takes the place of what would be downloaded."""
    import mnist

    sample = cnnx.data.load("sample")
    names = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
    arrays = {f"{name}.gz": array for name, array in zip(names, sample, strict=True)}

    def retrieve(url, path):
        mirror, _, name = url.rpartition("/")
        assert f"{mirror}/" in cnnx.data.MIRRORS
        header = struct.pack(f">HBB{arrays[name].ndim}I", 0, 8, arrays[name].ndim, *arrays[name].shape)
        Path(path).write_bytes(gzip.compress(header + arrays[name].tobytes()))

    load = cnnx.data.load
    monkeypatch.setattr(cnnx.data, "load", lambda source="sample": sample if source == "mnist" else load(source))
    monkeypatch.setattr(mnist, "urlretrieve", retrieve)
    monkeypatch.setattr(mnist, "temporary_dir", lambda: str(tmp_path))
    monkeypatch.setattr(mnist, "datasets_url", mnist.datasets_url)  # which a page may set
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)


def assert_prints(printed, expected):
    """Compare two texts: their words exactly, their numbers nearly."""
    assert NUMBER.sub("0", printed) == NUMBER.sub("0", expected), printed
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=SAME_RUN), printed


def test_every_block_is_of_a_kind_that_is_tested():
    kinds = defaultdict(set)
    for page in PAGES:
        text = page.read_text("utf-8")
        assert len(re.findall(r"^```", text, flags=re.MULTILINE)) == 2 * len(BLOCK.findall(text)), page
        for kind, _ in BLOCK.findall(text):
            kinds[kind].add(page)
    assert set(kinds) <= KINDS | DIRECTIVES, kinds


@pytest.mark.parametrize("page", pages_with("python"))
@pytest.mark.usefixtures("without_network")
def test_the_code_of_a_page_runs_from_top_to_bottom(page, capsys):
    pytest.importorskip(NEEDED.get(page.stem, "cnnx"), reason="the package of an extra is not installed")
    names = {"__name__": page.stem}
    text = page.read_text("utf-8")
    matches = list(BLOCK.finditer(text))
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        kind, block = match.groups()
        if kind != "python":
            continue
        line = text.count("\n", 0, match.start(2))
        exec(compile("\n" * line + block, page, "exec"), names)
        printed = capsys.readouterr().out
        if following is not None and following[1] == "text" and not text[match.end() : following.start()].strip():
            assert_prints(printed, following[2])


@pytest.mark.parametrize("command", [c for c in commands() if c[:3] == ("python", "-m", "cnnx.train")], ids=" ".join)
@pytest.mark.usefixtures("without_network")
def test_the_pages_commands_train(command):
    few = ["--data", "sample", "--limit", "60", "--epochs", "1"]  # these come last, and so they count
    if "--validation" in command:
        few += ["--validation", "20"]
    if "--typed" in command:
        few += ["--typed", "20"]
    if "--plot" in command:
        pytest.importorskip("matplotlib", reason="the package of an extra is not installed")
    assert main([*command[3:], *few]) == 0


@pytest.mark.parametrize("command", [c for c in commands() if c[:3] != ("python", "-m", "cnnx.train")], ids=" ".join)
def test_the_other_commands_are_of_programs_that_the_project_uses(command):
    assert command[0] in KNOWN_PROGRAMS
    if command[:2] == ("python", "-m"):
        assert (ROOT / "python" / command[2].replace(".", "/")).with_suffix(".py").is_file()
    elif command[0] == "python":
        script = ROOT / command[1]
        if not script.parent.is_dir():
            pytest.skip(f"{script.parent.name}/ is not in the sdist")
        assert script.is_file()


@pytest.mark.usefixtures("without_network")
def test_the_first_command_prints_what_the_readme_says(capsys):
    expected = blocks_of(ROOT / "README.md", "text")[0].split("…\n")
    assert main([]) == 0
    printed = capsys.readouterr().out
    printed, _ = printed.rsplit("3000 steps", 1)  # then comes the time, which is the machine's
    expected[-1], _ = expected[-1].rsplit("3000 steps", 1)
    first, last = expected[0].count("\n"), expected[-1].count("\n")
    lines = printed.splitlines(keepends=True)
    assert_prints("".join(lines[:first]), expected[0])
    assert_prints("".join(lines[-last:]), expected[-1])


@pytest.mark.parametrize("page", pages_with("cmake"))
def test_what_the_pages_say_of_cmake_is_in_an_example(page):
    example = (ROOT / "examples/cpp/CMakeLists.txt").read_text("utf-8").splitlines()
    for block in blocks_of(page, "cmake"):
        assert set(block.splitlines()) <= set(example)


@pytest.mark.skipif(not HAS_DOCS, reason="docs/ and benchmarks/ are not in the sdist")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_pages_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text("utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_the_names_in_one_image_s_way_are_in_the_code():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = re.search(r"^## One image's way through the code\n(.*?)^## ", page, flags=re.DOTALL | re.MULTILINE)[1]
    steps = re.findall(r"^\d+\. ", section, flags=re.MULTILINE)
    quoted = [text for text in re.findall(r"`([^`]+)`", section) if "/" not in text]
    names = {name for text in quoted for name in re.findall(r"[A-Za-z_]\w+", text)}
    sources = "".join(
        path.read_text("utf-8")
        for folder, pattern in (("python", "*.py"), ("csrc", "*.[ch]pp"))
        for path in (ROOT / folder).rglob(pattern)
    )
    assert len(steps) <= 12
    assert len(names) > 25
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", sources)] == []


@pytest.mark.skipif(not HAS_DOCS, reason="docs/ is not in the sdist")
def test_the_api_reference_has_every_public_name():
    reference = (ROOT / "docs/api.md").read_text("utf-8")
    documented = re.findall(r"^\.\. auto(?:class|function|module):: (?:cnnx\.)?(\w+)", reference, flags=re.MULTILINE)
    assert set(cnnx.__all__) - {"__version__"} <= set(documented)
