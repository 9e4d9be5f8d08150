"""`.ci/run` installs every program that a test would otherwise be skipped for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.conformance.judges.tools import PACKAGES
from tests.conformance.rules import PROJECT

SCRIPT = PROJECT / ".ci/run"
README = PROJECT / "README.md"


def test_every_judge_is_in_the_table() -> None:
    """The table of the script is that of the judges, and make."""
    table = dict(re.findall(r"^  \[(\w+)\]=(\S+)$", SCRIPT.read_text(), re.MULTILINE))
    assert table == {**PACKAGES, "make": "make"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Where nothing is there, and the user is not root, it says what to install, and runs nothing."""
    (tmp_path / "dirname").symlink_to(shutil.which("dirname") or "")
    for name, line in (("id", "echo 1000"), ("make", "exit 7"), ("apt-get", "exit 8")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    bash = shutil.which("bash") or ""
    done = subprocess.run(
        [bash, SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    found = {program for program in PACKAGES if shutil.which(program, path="/usr/sbin:/sbin")}
    said = done.stderr.split("apt-get install ")[1].split()
    assert set(said) == {PACKAGES[program] for program in PACKAGES.keys() - found} | {"python3-venv"}


def test_the_readme_says_the_same() -> None:
    """The line to copy for those who do not use the script."""
    (line,) = re.findall(r"^apt-get install (.*)$", README.read_text(), re.MULTILINE)
    assert set(line.split()) == {*PACKAGES.values(), "make", "python3-venv"}
