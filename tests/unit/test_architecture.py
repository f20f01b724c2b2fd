"""The shape of the code that `lint-imports` can't see: its contracts are in `pyproject.toml`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cache_service"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
PURITY = next(contract for contract in CONTRACTS if contract["name"].startswith("Decisions are pure"))
CAPABILITIES = next(contract for contract in CONTRACTS if contract["type"] == "independence")["modules"]


def _modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if not path.relative_to(PACKAGE).parts[0].startswith("_alembic")
    )


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> set[str]:
    """Top-level names of everything a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def _calls_itself_pure(path: Path) -> bool:
    """Whether the first paragraph of a module's docstring says so."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return re.search(r"\bpure\b(?! ASGI)", docstring.split("\n\n")[0], re.IGNORECASE) is not None


@pytest.mark.parametrize("path", [p for p in _modules() if _calls_itself_pure(p)], ids=_name)
def test_a_module_that_calls_itself_pure_is_pure(path: Path) -> None:
    """Decisions can be tested and replayed: they see no clock, loop, randomness, logging or I/O."""
    assert not _imports(path) & set(PURITY["forbidden_modules"])


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_capability_says_what_callers_may_rely_on(capability: str) -> None:
    """Each folder has its promises in `base.py`; `cache_key` has none, it is functions without state."""
    if capability != "cache_service.cache_key":
        assert (ROOT / Path(*capability.split("."), "base.py")).is_file()


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A newcomer finds the right file by its first line."""
    assert (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").strip()


def test_importing_the_package_does_nothing() -> None:
    """No file is read, no socket made, no process started and no thread left because a module was imported."""
    script = """
        import importlib, pkgutil, sys, threading
        import cache_service
        seen = []

        def importer():
            # The frame that caused the event, if it is one of our modules being executed.
            frame = sys._getframe(2)
            while frame is not None:
                where = frame.f_code.co_filename
                if "importlib" in where or "pkgutil" in where:
                    return None
                if "/cache_service/" in where:
                    return f"{where}:{frame.f_lineno}"
                frame = frame.f_back
            return None

        def watch(event, arguments):
            if event in ("open", "socket.connect", "socket.bind", "subprocess.Popen", "os.listdir", "os.mkdir"):
                by = importer()
                if by:
                    seen.append((event, str(arguments[0]), by))

        names = [m.name for m in pkgutil.walk_packages(cache_service.__path__, "cache_service.")]
        sys.addaudithook(watch)
        for name in names:
            if not name.endswith("__main__") and "_alembic" not in name:
                importlib.import_module(name)
        assert not seen, seen
        assert threading.active_count() == 1, threading.enumerate()
    """
    _run(script)


def test_the_serving_process_needs_no_torch() -> None:
    """Serving starts in seconds and stays small: the libraries that made the model are not imported."""
    script = """
        import sys
        import cache_service.bootstrap, cache_service.cli
        heavy = {"torch", "transformers", "sentence_transformers", "onnx", "sklearn", "scipy"} & set(sys.modules)
        assert not heavy, heavy
    """
    _run(script)


def _run(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
