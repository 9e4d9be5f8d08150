"""`goodstanding up`: starts, keeps running, stops, starts again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from services.cli.commands import up as up_command
from tests.command import FREE, Up, command_line, goodstanding, make_csr
from tests.waiting import wait_until

SERVICES = ("ca", "status", "gateway")


def issue(up: Up) -> str:
    """Issue a certificate, and return its serial number."""
    csr = make_csr(up.data.parent)
    done = goodstanding("issue", csr, "--data", up.data, "--json", check=True)
    return str(json.loads(done.stdout)["serial_number"])


def status(up: Up, serial: str) -> str:
    """The status of a certificate."""
    done = goodstanding("status", serial, "--data", up.data, "--json", check=True)
    return str(json.loads(done.stdout)["status"])


def test_ready(running: Up) -> None:
    """Ready is said with the addresses and commands to paste, and everything serves by then."""
    ready = running.output[-1]
    run = json.loads((running.data / "run.json").read_text())
    assert all(run[name] in ready for name in ("ca", "status", "http", "ops"))
    text = "\n".join(running.output)
    assert "issue test.csr" in text
    assert f"openssl ocsp -CAfile {running.data}/ca/chain.pem" in text
    with urllib.request.urlopen(f"http://{run['ops']}/readyz", timeout=5) as answer:
        assert answer.status == 200
    assert status(running, issue(running)) == "good"


def test_loopback_is_told(running: Up) -> None:
    """A public URL that only this machine can reach is warned about."""
    assert "warning: certificates will carry http://127.0.0.1:" in running.errors.read_text()


def test_children(running: Up) -> None:
    """The children are `goodstanding serve …` by command line, in the process group of their parent."""
    children = running.children()
    assert set(children) == set(SERVICES)
    for name, pid in children.items():
        assert f"goodstanding serve {name} --config {running.data}/config.toml" in command_line(pid)
        assert os.getpgid(pid) == running.process.pid


@pytest.mark.parametrize("name", SERVICES)
def test_restart(name: str, running: Up) -> None:
    """A child that is killed is back within a second, and serves again."""
    known = issue(running)
    before = running.children()[name]
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: running.children().get(name, before) != before, 5) < 1

    def serves() -> bool:
        run = json.loads((running.data / "run.json").read_text())
        try:
            with urllib.request.urlopen(f"http://{run['ops']}/readyz", timeout=1) as answer:
                ready = answer.status == 200
        except OSError:
            return False
        asked = (("issuers",), ("status", known))  # of the ca service, and of the status service
        return ready and all(goodstanding(*each, "--data", running.data).returncode == 0 for each in asked)

    wait_until(serves, 20)
    assert status(running, issue(running)) == "good"


def test_gateway_identities(running: Up) -> None:
    """Every start of the gateway brings a new identity, and the one before is denied."""
    done = goodstanding("credential", "list", "--data", running.data, "--json", check=True)
    made = json.loads(done.stdout)["credentials"]
    states = [each["state"] for each in made if each["name"].startswith("gateway-")]
    assert len(states) >= 2
    assert states.count("valid") == 1


def test_second_up(running: Up) -> None:
    """A second one on the same folder is refused, and names the first."""
    done = goodstanding("up", "--data", running.data, *FREE)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"runs on {running.data} already (process {running.process.pid})" in done.stderr
    assert running.process.poll() is None


def test_stop_and_start_again(start: Callable[..., Up]) -> None:
    """A signal stops all cleanly with status 0; the next start picks up where it was, on the same addresses."""
    first = start()
    ready = first.wait_ready()
    serial = issue(first)
    stop_cleanly(first, signal.SIGTERM)
    second = start(options=())
    assert second.wait_ready() == ready
    assert status(second, serial) == "good"
    stop_cleanly(second, signal.SIGINT)


def stop_cleanly(up: Up, number: signal.Signals) -> None:
    """Stop with a signal to the supervisor alone, and look for what it might have left behind."""
    children = up.children()
    assert len(children) == 3
    assert up.stop(number) == 0
    assert not any(map(command_line, children.values()))
    assert not (up.data / "run.json").exists()
    assert "Traceback" not in up.errors.read_text()


def test_postgresql(postgres_server: Any, start: Callable[..., Up], tmp_path: Path) -> None:
    """With the database on PostgreSQL everything works the same (G7)."""
    url = postgres_server.url(postgres_server.create())
    goodstanding("init", "--data", tmp_path / "data", "--database-url", url, check=True)
    up = start()
    up.wait_ready()
    serial = issue(up)
    assert status(up, serial) == "good"
    goodstanding("revoke", serial, "--data", up.data, check=True)
    assert status(up, serial) == "revoked"
    assert up.stop() == 0


def test_kill_takes_the_children_along(start: Callable[..., Up]) -> None:
    """The children die with their parent, whatever it dies of, and the folder can be used at once."""
    first = start()
    first.wait_ready()
    children = first.children()
    first.process.kill()
    wait_until(lambda: not any(map(command_line, children.values())), 2)
    second = start(options=())
    second.wait_ready()
    assert second.stop() == 0


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the parent", "to all, as Ctrl-C does"])
def test_stop_during_the_start(send: Callable[[int, int], None], start: Callable[..., Up]) -> None:
    """A signal before it is ready stops it, too."""
    up = start()
    wait_until(lambda: len(up.children()) >= 1, 20)
    send(up.process.pid, signal.SIGINT)
    assert up.process.wait(30) == 0
    assert up.children() == {}


def test_ctrl_c(start: Callable[..., Up]) -> None:
    """Ctrl-C, which reaches the children as well, stops all cleanly and starts nothing again."""
    up = start()
    up.wait_ready()
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.process.wait(30) == 0
    errors = up.errors.read_text()
    assert "starting it again" not in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_stop_in_the_background(number: signal.Signals, start: Callable[..., Up]) -> None:
    """A script's `goodstanding up &` has SIGINT ignored; it stops cleanly all the same, asked as a group."""
    inherited = signal.signal(number, signal.SIG_IGN)
    try:
        up = start()
    finally:
        signal.signal(number, inherited)
    up.wait_ready()
    os.killpg(up.process.pid, number)
    assert up.process.wait(30) == 0
    errors = up.errors.read_text()
    assert "starting it again" not in errors
    assert "Traceback" not in errors


def test_children_do_not_hear_ctrl_c(running: Up) -> None:
    """SIGINT and SIGHUP are for the parent alone: it is the one that stops the children."""
    before = running.children()
    for pid in before.values():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    assert goodstanding("issuers", "--data", running.data).returncode == 0
    assert running.children() == before


def test_hints(tmp_path: Path) -> None:
    """The commands to paste work in a new terminal, whose PATH knows neither make nor a virtual environment."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    up = Up(folder / "my data", cwd=folder, environment=os.environ | {"GOODSTANDING_DATA": "my data", "PATH": path})
    try:
        up.wait_ready()
        lines = "\n".join(up.output).partition("Next, in another terminal:")[2].splitlines()
        script = "\n".join(line for line in lines if line.startswith("  "))
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Response verify OK" in done.stderr
        assert "test.pem: good" in done.stdout
        assert "revoked since" in done.stdout
    finally:
        up.kill()


@pytest.mark.parametrize(
    ("script", "called"),
    [
        (".venv/bin/goodstanding", ".venv/bin/goodstanding"),
        ("goodstanding", "./goodstanding"),
        ("../elsewhere/bin/goodstanding", "{}/elsewhere/bin/goodstanding"),
        ("../system/goodstanding", "goodstanding"),
    ],
)
def test_how_it_is_called(script: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, unless it is where everybody's PATH leads, whatever this process's own PATH says."""
    (tmp_path / "here").mkdir()
    file = (tmp_path / "here" / script).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o755)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", [str(file)])
    monkeypatch.setenv("PATH", str(file.parent), prepend=":")
    monkeypatch.setattr(up_command, "EVERYWHERE", str(tmp_path / "system"))
    assert up_command.goodstanding() == called.format(tmp_path)


def test_missing_certificates(pristine: Path, start: Callable[..., Up], tmp_path: Path) -> None:
    """CA certificates that the hints need and that are gone are warned about, and the commands bring them back."""
    shutil.copytree(pristine, tmp_path / "data")
    names = ("issuing", "root", "chain")
    before = {name: x509.load_pem_x509_certificates((tmp_path / f"data/ca/{name}.pem").read_bytes()) for name in names}
    for name in names:
        (tmp_path / f"data/ca/{name}.pem").unlink()
    up = start()
    up.wait_ready()
    warnings = [line for line in up.errors.read_text().splitlines() if " is missing, " in line]
    for warning in warnings:
        command = warning.rpartition("answers: ")[2]
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True, capture_output=True)
    after = {name: x509.load_pem_x509_certificates((tmp_path / f"data/ca/{name}.pem").read_bytes()) for name in names}
    assert after == before
