"""Development tasks, each with its own tools. `nox -l` lists them, `nox -s NAME -- ARGUMENTS` runs one."""

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|virtualenv"  # uv installs in a tenth of the time where there is one

PROJECT = nox.project.load_toml("pyproject.toml")
OLDEST_PYTHON = PROJECT["project"]["requires-python"].removeprefix(">=")
OLDEST_NUMPY = next(it for it in PROJECT["project"]["dependencies"] if it.startswith("numpy")).removeprefix("numpy>=")
TOOLS = ["ruff==0.17.6", "mypy==2.4.1", "pyright==1.1.414", "clang-format==19.1.7"]
ENVIRONMENT = Path(".venv").resolve()
BUILD = Path("build/dev").resolve()


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Set up .venv with an editable cnnx, or rebuild changed files. Then run pytest if there are arguments.

    In the first call, the environment variable CNNX_TARGETS chooses the CPU targets. One target rebuilds fastest.
    """
    programs = ENVIRONMENT / "bin"
    path = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    if not (BUILD / "CMakeCache.txt").exists() or not programs.exists():
        session.run(sys.executable, "-m", "venv", str(ENVIRONMENT))
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet"]
        session.run(*pip, *PROJECT["build-system"]["requires"], "cmake", "ninja", *TOOLS)
        editable = ["--no-build-isolation", f"-Cbuild-dir={BUILD}", "-Ccmake.args=-GNinja", "--editable", ".[test]"]
        if targets := os.environ.get("CNNX_TARGETS"):
            editable.append(f"-Ccmake.define.CNNX_TARGETS={targets}")
        session.run(*pip, *editable, env=path)
    find = "import sysconfig; print(sysconfig.get_path('platlib'))"
    packages = str(session.run(str(programs / "python"), "-c", find, silent=True)).strip()
    session.run("cmake", "--build", str(BUILD), env=path)
    session.run("cmake", "--install", str(BUILD), "--component", "python", "--prefix", packages, env=path)
    if session.posargs:
        session.run(str(programs / "python"), "-m", "pytest", *session.posargs, env=path)


@nox.session
def tests(session: nox.Session) -> None:
    """Install cnnx as a user does, and run the test suite."""
    session.install(".[all,test]")
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def oldest(session: nox.Session) -> None:
    """Run the layers' tests and the smoke tests on the oldest Python and the oldest numpy that are allowed."""
    session.install(".[all,test]", f"numpy=={OLDEST_NUMPY}.*")
    for arguments in [session.posargs] if session.posargs else [["tests/layers"], ["-m", "smoke"]]:
        session.run("pytest", *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types. Nothing is compiled."""
    session.install(*TOOLS, *PROJECT["project"]["dependencies"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    listed = session.run("git", "ls-files", "*.cpp", "*.hpp", external=True, silent=True)
    session.run("clang-format", "--dry-run", "-Werror", *str(listed).split(), silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Check that the stubs match the core, and that what users write passes mypy and pyright."""
    session.install(".[all,test]", "pybind11-stubgen==3.0.0", *TOOLS)
    session.run("python", "tools/make_stubs.py", "--check")
    session.run("python", "-m", "mypy.stubtest", "cnnx._core", "--allowlist", "tools/stubtest_allowlist.txt")
    session.run("pytest", "-q", "tests/app/test_types.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages of docs/ into build/docs; begin with build/docs/index.html. A warning is an error."""
    session.install(".[all,docs]")
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "--quiet", "docs", "build/docs")


@nox.session
@nox.parametrize("sanitizers", ["address,undefined", "thread"], ids=["address", "thread"])
def sanitize(session: nox.Session, sanitizers: str) -> None:
    """Run tests under sanitizers: address and undefined behaviour, or threads for the tests that start threads."""
    # Tests cannot run a target that this CPU does not have, and threads do the same on every target.
    best = "avx512" if "avx512f" in Path("/proc/cpuinfo").read_text() else "avx2"
    targets = "baseline" if sanitizers == "thread" else f"avx2;{best}"
    defines = {"CNNX_WERROR": "ON", "CNNX_SANITIZE": sanitizers, "CNNX_TARGETS": targets}
    session.install(".[test]", *(f"-Ccmake.define.{name}={value}" for name, value in defines.items()))
    if sanitizers == "thread":
        runtime = "libtsan.so"
        options = {"OPENBLAS_NUM_THREADS": "1"}
        files = ["tests/core/test_batches.py", "tests/core/test_threads.py", "tests/app/test_predict.py"]
        # One test counts threads all the time that they run, which takes minutes here and looks for no race.
        runs = [[*files, "-k", "(thread or while_it) and not cannot_start and not no_more_threads"]]
    else:
        runtime = "libasan.so"
        options = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
        # These files of tests/app compute what the other folders do not. One test takes away memory that the sanitizer
        # itself needs. Numeric derivatives go a hundred times over what other tests of the same files compute, and
        # checkpoints change nothing in the core. tests/core is slow, so it is run with float32 and the best target
        # alone; tests/layers has all.
        files = ["colour", "damaged_networks", "image_forms", "loading", "models", "predict", "processes", "saving"]
        both = ["tests/layers", *(f"tests/app/test_{name}.py" for name in files)]
        left_out = "not cannot_start and not derivative and not checkpoint"
        runs = [[*both, "-k", left_out], ["tests/core", "-k", f"{left_out} and not float64 and not baseline"]]
    # libstdc++ is loaded with the sanitizer. Without it, the first C++ exception aborts.
    libraries = [_library_of_gcc(name) for name in (runtime, "libstdc++.so")]
    environment = {"LD_PRELOAD": " ".join(libraries), **options}
    for arguments in [session.posargs] if session.posargs else runs:
        session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, env=environment)


def _library_of_gcc(name: str) -> str:
    return subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what each change to the article's network costs. benchmarks/README.md explains the arguments."""
    session.install(".")
    session.run("python", "benchmarks/cliffs.py", *session.posargs)
