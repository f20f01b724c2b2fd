"""What `pyproject.toml` can't say: migrations and models lie beside the package in the checkout, and inside it in a wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = {"alembic": "_alembic", "models": "_models"}  # folder of the checkout: its name inside the package
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", ".*", "cache"
)  # models/cache holds weights, made by `make model`


class BuildWithFolders(build_py):
    """Also copies the folders above into the wheel; an editable install finds them in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder, name in CARRIED.items():
            if Path(folder).is_dir():
                shutil.copytree(
                    folder, Path(self.build_lib, "cache_service", name), ignore=LEFT_OUT, dirs_exist_ok=True
                )


setup(cmdclass={"build_py": BuildWithFolders})
