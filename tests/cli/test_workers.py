"""`--workers`: `goodstanding up` keeps its promises with several workers, and mistakes are told."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import FREE, Up, command_line, goodstanding
from tests.waiting import wait_until


def workers(up: Up) -> list[int]:
    """The process ids of the gateway's workers."""
    gateway = up.children().get("gateway")
    try:
        return [int(pid) for pid in Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split()]
    except OSError:
        return []


def ready_workers(up: Up) -> int:
    """How many workers say that they are ready."""
    run = json.loads((up.data / "run.json").read_text())
    try:
        with urllib.request.urlopen(f"http://{run['ops']}/readyz", timeout=5) as answer:
            return sum(worker["ready"] for worker in json.loads(answer.read())["workers"].values())
    except OSError:
        return 0


def test_up_with_workers(start: Callable[..., Up]) -> None:
    """Workers are `goodstanding serve gateway` in the process group; one that dies is back within a second."""
    up = start(options=(*FREE, "--workers", "2"))
    up.wait_ready()
    assert ready_workers(up) == 2
    first, second = workers(up)
    for pid in (first, second):
        assert f"goodstanding serve gateway --config {up.data}/config.toml" in command_line(pid)
        assert os.getpgid(pid) == up.process.pid
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: len(workers(up)) == 2 and first not in workers(up), 5) < 1
    wait_until(lambda: ready_workers(up) == 2, 20)
    os.killpg(up.process.pid, signal.SIGINT)  # as Ctrl-C does
    assert up.process.wait(30) == 0
    errors = up.errors.read_text()
    assert errors.count("starting another") == 1
    assert "starting it again" not in errors
    assert "Traceback" not in errors


def test_workers_die_with_up(start: Callable[..., Up]) -> None:
    """A kill takes the workers along, and the same addresses can be used at once; the option held for one run."""
    up = start(options=(*FREE, "--workers", "2"))
    up.wait_ready()
    pids = [*up.children().values(), *workers(up)]
    assert len(pids) == 5
    up.process.kill()
    wait_until(lambda: not any(map(command_line, pids)), 5)
    second = start(options=())
    second.wait_ready()
    assert workers(second) == []
    assert second.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "ca", "--workers", "2"), "--workers is for the gateway"),
        (("serve", "gateway", "--workers", "0"), "1<=x<=64"),
        (("up", "--workers", "65"), "1<=x<=64"),
    ],
    ids=["not for ca", "none", "too many"],
)
def test_usage(arguments: tuple[str, ...], said: str, pristine: Path) -> None:
    """What makes no sense is a mistake in usage."""
    done = goodstanding(*arguments, "--data", pristine)
    assert done.returncode == 2
    assert said in done.stderr


def test_from_the_environment(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting can come from the environment, and is checked there as well."""
    monkeypatch.setenv("GOODSTANDING_GATEWAY__WORKERS", "0")
    done = goodstanding("serve", "gateway", "--data", pristine)
    assert done.returncode == 1
    assert "environment variable GOODSTANDING_GATEWAY__WORKERS: must be 1 or more" in done.stderr
