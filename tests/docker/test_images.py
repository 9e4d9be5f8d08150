"""The images, without an engine: what the Dockerfile does is done in a clean folder, and what comes out is run."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from services.known_keys.debian_files import KINDS
from tests.docker.dockerfile import LOCKED, PROJECT, Build, stages


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A clean folder to build in."""
    return Build(tmp_path_factory.mktemp("images"))


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    """A path that is missing, or that .dockerignore keeps out, would only be noticed with an engine."""
    let_through = (PROJECT / "docker/Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line.removeprefix("!") for line in let_through if line.startswith("!")]
    for stage in stages().values():
        for source, paths, _ in stage.copies:
            for path in paths if source is None else []:
                assert (PROJECT / path).exists(), path
                assert any(Path(path).match(pattern) for pattern in patterns), path


def test_nothing_is_run_that_setup_does_not_run() -> None:
    """RUN installs what is pinned by hash, from wheels, as `make setup` does; or builds or installs our own wheel."""
    setup = (PROJECT / "Makefile").read_text()
    for stage in stages().values():
        for _, command in [step for step in stage.steps if step[0] == "RUN"]:
            pinned = re.fullmatch(r"python (-m pip install .* -r) requirements/\w+\.txt", command)
            assert (pinned and pinned[1] in setup) or "--no-deps" in command, command


def test_images_have_users_and_no_secrets() -> None:
    """Whoever breaks in is not root, and finds nothing that was built in."""
    for name in ("services", "gateway"):
        steps = dict(stages()[name].steps)
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", steps["USER"])
        assert not {"ENV", "ARG", "ADD"} & steps.keys()


def test_the_lock_files_agree() -> None:
    """What is tested is what is shipped."""
    dev, runtime, gateway = (
        {found[0]: found[1] for found in LOCKED.findall((PROJECT / f"requirements/{name}.txt").read_text())}
        for name in ("dev", "runtime", "gateway")
    )
    assert gateway.items() < runtime.items() < dev.items()
    assert not {"sqlalchemy", "alembic", "psycopg", "psycopg-binary"} & gateway.keys()
    assert "pytest" not in runtime


def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    """Code of all packages, generated code, migrations, lists of keys, and nothing that is for development."""
    command = next(text for _, text in stages()["wheel"].steps if "pip wheel" in text)
    words = [str(tmp_path) if word == "wheels" else word for word in command.split()]
    subprocess.run([sys.executable, *words[1:]], cwd=PROJECT, check=True)
    (wheel,) = tmp_path.glob("goodstanding-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = [path for top in ("services", "gateway", "goodstanding") for path in python_files(top)]
    assert {*code, "services/db/_migrations/env.py", "services/db/_migrations/versions/0001_first.py"} <= names
    assert {f"services/known_keys/debian/{kind}.sha256" for kind in KINDS} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docker", "migrations", "tools"))]


def python_files(top: str) -> list[str]:
    """The Python files of a package, as the wheel has to name them."""
    root = PROJECT / "protos" if top == "goodstanding" else PROJECT
    return [str(path.relative_to(root)) for path in (root / top).rglob("*.py")]


def test_the_services_image_runs_the_command(build: Build) -> None:
    """It makes a data folder, with the migrations of the wheel and nothing of the checkout."""
    binaries = build.run(stages()["services"])
    folder = build.folder / "data"
    done = subprocess.run(
        [binaries / "goodstanding", "init", "--data", folder],
        cwd=build.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "goodstanding.db").exists()


def test_the_gateway_image_holds_nothing_of_the_services(build: Build) -> None:
    """It imports all that it runs with; services, SQLAlchemy and drivers are not there to be imported."""
    binaries = build.run(stages()["gateway"])
    source = build.folder / "gateway/src"
    code = (
        "import importlib.util, gateway.serve\n"
        "found = [n for n in ('services', 'sqlalchemy', 'alembic', 'psycopg') if importlib.util.find_spec(n)]\n"
        "raise SystemExit(f'{found} found' if found else 0)\n"
    )
    done = subprocess.run([binaries / "python", "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused = subprocess.run(
        [binaries / "python", "-m", "gateway", "absent.toml"],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: cannot read the configuration file absent.toml")
