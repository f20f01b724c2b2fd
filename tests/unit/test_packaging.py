"""What is installed is what was locked, and a wheel holds everything the service needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from shutil import copy, copytree, ignore_patterns, which

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOT_LOCKED = {"cache-service", "pip"}  # ourselves, and what the interpreter brings


def _lock() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def _requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in (*PROJECT["dependencies"], *(text for extra in extras for text in extra))]


@pytest.mark.parametrize("requirement", _requirements(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_locked_to_a_version_it_allows(requirement: Requirement) -> None:
    """`make setup` installs today what it installed when the tests last passed."""
    locked = _lock().get(canonicalize_name(requirement.name))
    assert locked is not None, f"{requirement.name} is not in constraints.txt; run `make lock`"
    assert requirement.specifier.contains(locked)


def test_everything_the_package_imports_is_declared() -> None:
    """Nothing works only because another package happens to bring it."""
    declared = {canonicalize_name(requirement.name) for requirement in _requirements()}
    brought_by = metadata.packages_distributions()
    undeclared = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "cache_service").rglob("*.py")
        for name in _imported(path) - sys.stdlib_module_names - {"cache_service"}
        if not declared & {canonicalize_name(distribution) for distribution in brought_by.get(name, ())}
    }
    assert not undeclared


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_what_is_installed_is_what_is_locked() -> None:
    """The versions that the tests ran with are the ones a user gets; a build tag such as `+cpu` may differ."""
    lock = _lock()
    here = Path(sysconfig.get_path("purelib"))
    unlike = {}
    for distribution in metadata.distributions(path=[str(here)]):
        name = canonicalize_name(distribution.metadata["Name"])
        installed = Version(Version(distribution.version).public)
        if name not in NOT_LOCKED and lock.get(name) != installed:
            unlike[name] = (str(installed), str(lock.get(name, "not locked")))
    assert not unlike, f"installed and locked versions differ, run `make setup` or `make lock`: {unlike}"


def test_the_lock_names_versions_and_no_places() -> None:
    """The lock works with any package index: it holds no address, path or local build."""
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==([0-9]+!)?[0-9][0-9A-Za-z.]*", line), line


def test_no_package_runs_code_at_every_start_of_python() -> None:
    """A `.pth` file runs before any program, which is how a poisoned package starts; only known ones are there."""
    site = Path(sysconfig.get_path("purelib"))
    names = {path.name for path in site.glob("*.pth")}
    known = {"distutils-precedence.pth", f"__editable__.cache_service-{PROJECT['version']}.pth"}
    assert names <= known


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel of this checkout, built from a copy, without a network."""
    source = tmp_path_factory.mktemp("source")
    for name in ("cache_service", "alembic", "models"):
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__", "cache"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "models" / "cache").mkdir()
    (source / "models" / "cache" / "weights.onnx").write_bytes(b"not to be shipped")
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", str(built), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("*.whl")
    return zipfile.Path(path)


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.is_relative_to(folder / "cache")
    }


def _packed(wheel: zipfile.Path, folder: str) -> set[str]:
    names = wheel.root.namelist()
    return {name.removeprefix(folder) for name in names if name.startswith(folder) and not name.endswith("/")}


def test_a_wheel_holds_every_file_of_the_package(wheel: zipfile.Path) -> None:
    """Tables, fonts, pages and the marker for type checkers are installed with the code."""
    missing = _files(ROOT / "cache_service") - _packed(wheel, "cache_service/")
    assert not missing, "add the suffix to [tool.setuptools.package-data]"


@pytest.mark.parametrize(("folder", "inside"), [("alembic", "_alembic"), ("models", "_models")])
def test_a_wheel_holds_migrations_and_models(wheel: zipfile.Path, folder: str, inside: str) -> None:
    """An installed service can migrate its database and knows its models, without a checkout."""
    assert _packed(wheel, f"cache_service/{inside}/") == _files(ROOT / folder)


def test_a_wheel_holds_no_weights_and_nothing_beside_the_package(wheel: zipfile.Path) -> None:
    """Weights are fetched and checked by digest; a top-level `alembic` would shadow the library."""
    tops = {name.split("/")[0] for name in wheel.root.namelist()}
    assert tops == {"cache_service", f"cache_service-{PROJECT['version']}.dist-info"}
    assert not [name for name in wheel.root.namelist() if "weights.onnx" in name]


def test_a_wheel_brings_its_licence_and_its_command(wheel: zipfile.Path) -> None:
    """The licence travels with the code, and installing gives the command."""
    info = f"cache_service-{PROJECT['version']}.dist-info"
    assert "Apache License" in wheel.joinpath(info, "licenses", "LICENSE").read_text("utf-8")
    assert "cache-service = cache_service.cli:main" in wheel.joinpath(info, "entry_points.txt").read_text("utf-8")


@pytest.mark.skipif(which("make") is None, reason="needs make")
def test_an_environment_whose_making_was_broken_off_is_made_again(tmp_path: Path) -> None:
    """Ctrl-C during the first `make run` leaves a Python without pip; with pip the environment is taken as it is."""
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        copy(ROOT / name, tmp_path)
    begun = tmp_path / ".venv" / "bin"
    begun.mkdir(parents=True)
    (begun / "python").symlink_to(sys.executable)

    def plan() -> str:
        command = ["make", "--dry-run", ".venv/.installed-run"]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert "-m venv .venv" in plan()
    (begun / "pip").touch()
    assert "-m venv .venv" not in plan()
    assert "pip install" in plan()
