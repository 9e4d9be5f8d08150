"""Reads the Dockerfile, and does what it says in folders instead of images: nothing but RUN, COPY and WORKDIR.

What is pinned is not installed once more: `make setup` has installed it from the same hashes, so the files of exactly
those distributions are linked, which takes a tenth of a second where pip takes twenty.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

import pip

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "docker/Dockerfile"
GENERATED = shutil.ignore_patterns("__pycache__", "*.pyc")
SITE_PACKAGES = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
PINNED = re.compile(r"python -m pip install .* -r (requirements/\w+\.txt)")
# Name, version, and whether some machines leave it out.
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)( ;)?", re.MULTILINE)


@dataclass
class Stage:
    """One stage: its name, and its instructions with their text."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def copies(self) -> list[tuple[str | None, list[str], str]]:
        """What is copied: from which stage (None: from the project), which paths, to where."""
        return [read_copy(text) for instruction, text in self.steps if instruction == "COPY"]


def read_copy(text: str) -> tuple[str | None, list[str], str]:
    """The parts of a COPY instruction."""
    *paths, to = shlex.split(text)
    stage = paths.pop(0).removeprefix("--from=") if paths[0].startswith("--from=") else None
    return stage, paths, to


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile, by name."""
    found: dict[str, Stage] = {}
    for line in DOCKERFILE.read_text().splitlines():
        instruction, _, text = line.partition(" ")
        if instruction == "FROM":
            stage = Stage(text.rpartition(" AS ")[2])
            found[stage.name] = stage
        elif instruction not in ("", "#", "ARG"):
            stage.steps.append((instruction, text))
    return found


class Build:
    """Builds stages in `folder`: each has `STAGE/` for its file system and `STAGE/venv` for the image's Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, stage: Stage) -> Path:
        """Do all steps of a stage, once; stages that it copies from come first. Returns the folder of its `bin`."""
        root = self.folder / stage.name
        if root.exists():
            return root / "venv/bin"
        for source, _, _ in stage.copies:
            if source is not None:
                self.run(stages()[source])
        make_python(root / "venv")
        where = root
        for instruction, text in stage.steps:
            if instruction == "WORKDIR":
                where = root / text.lstrip("/")
                where.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                self.copy(text, where)
            elif instruction == "RUN":
                self.execute(text, root, where)
        return root / "venv/bin"

    def copy(self, text: str, where: Path) -> None:
        """Copy as Docker does: the content of a folder, a file under its name if the target ends in a slash."""
        stage, paths, to = read_copy(text)
        for path in paths:
            source = self.folder / stage / path.lstrip("/") if stage else PROJECT / path
            target = where / to / source.name if source.is_file() and to.endswith("/") else where / to
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=GENERATED, dirs_exist_ok=True)
            else:
                shutil.copy(source, target)

    def execute(self, command: str, root: Path, where: Path) -> None:
        """Run a command where the image's Python is the only one."""
        if pinned := PINNED.fullmatch(command):
            link_pinned(where / pinned[1], root / "venv" / SITE_PACKAGES)
            return
        environment = {**os.environ, "PATH": f"{root / 'venv/bin'}:{os.environ['PATH']}", "PIP_NO_COMPILE": "1"}
        done = subprocess.run(["sh", "-c", command], cwd=where, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def make_python(folder: Path) -> None:
    """A virtual environment with nothing but pip. Copying our pip takes a tenth of the time that ensurepip takes."""
    venv.create(folder, symlinks=True)
    shutil.copytree(Path(pip.__file__).parent, folder / SITE_PACKAGES / "pip")


def link_pinned(requirements: Path, site_packages: Path) -> None:
    """Put the files of what a lock file names there, and of nothing else: packages may share a folder (`google`)."""
    for name, version, elsewhere in LOCKED.findall(requirements.read_text()):
        try:
            found = distribution(name)
        except ModuleNotFoundError:
            assert elsewhere, f"{name} is not installed: make setup"
            continue
        assert found.version == version, f"{name} is {found.version}, not {version}: make setup"
        for file in found.files or ():
            if ".." not in file.parts:  # commands
                target = site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(Path(str(file.locate())))
