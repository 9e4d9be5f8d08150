"""`goodstanding serve`: one service in this process, until SIGTERM or SIGINT.

Nothing heavy is imported before the logs are set up: gRPC reads its log settings when it is first imported.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import click
import structlog

from gateway.memory import keep_memory_private
from services.cli.checks import exposed, exposure_cure, passphrase_text, require_credential
from services.cli.failures import Failed, lines_of, mistakes
from services.cli.options import FILE, data_option, workers_option
from services.errors import DomainError
from services.logs import configure_logging

SERVICES = ("ca", "status", "gateway")
# Told to the supervisor: this was no mistake in the configuration, and starting again may help.
CRASHED = 70
SUPERVISOR = "GOODSTANDING_SUPERVISOR"
HELD = "GOODSTANDING_HELD"
PR_SET_PDEATHSIG = 1


@click.command("serve")
@click.argument("service", type=click.Choice(SERVICES))
@click.option("--config", metavar="FILE", type=FILE, help="The configuration file. [default: config.toml in --data]")
@workers_option
@data_option
def command(service: str, config: Path | None, workers: int | None, data: Path) -> None:
    """Run one of the services: ca, status or gateway."""
    if workers is not None and service != "gateway":
        raise click.UsageError("--workers is for the gateway; ca and status are one process each.")
    supervised = die_with_supervisor()
    if not supervised:
        os.environ.pop(HELD, None)  # nobody holds it who could let it go
    keep_memory_private()
    os.umask(0o077)
    file = config or data / "config.toml"
    if not file.is_file():
        raise click.UsageError(
            f"{file} is not there: name a configuration with --config, or a data folder with --data."
        )
    configure_logging(service)
    if not supervised:  # `goodstanding up` has looked itself
        warn_of_exposure(file.parent)
    run(service, file, workers)


def warn_of_exposure(data: Path) -> None:
    """Log which private files others can read, and what to do about it."""
    files = exposed(data)
    if files:
        structlog.get_logger(__name__).warning(
            "others than their owner can read private files", files=list(map(str, files)), cure=exposure_cure(files)
        )


def run(service: str, config: Path, workers: int | None) -> None:
    """Serve. Mistakes in the configuration are a line each; anything unforeseen has its traceback and status 70."""
    serve, mistake = _gateway(config, workers) if service == "gateway" else _services(service, config)
    # It answers about a fifth more requests on a core than asyncio's own loop, 32 connections open.
    uvloop = importlib.import_module("uvloop")
    wait_for_release()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except mistake as error:
        raise Failed(mistakes(lines_of(error))) from error
    except (click.ClickException, DomainError, OSError):
        raise
    except Exception:  # noqa: BLE001  (the last line of defence; everything foreseen was raised above)
        traceback.print_exc()
        sys.exit(CRASHED)


def die_with_supervisor() -> bool:
    """Whether `goodstanding up` started this process; if so, have the kernel kill it when that one dies (Linux)."""
    supervisor = os.environ.pop(SUPERVISOR, "")
    if not supervisor or not sys.platform.startswith("linux"):
        return bool(supervisor)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(supervisor):  # it died before we asked
        sys.exit(1)
    return True


def wait_for_release() -> None:
    """Where `goodstanding up` started this process ahead of time: wait until it tells the rest of the environment."""
    gate = os.environ.pop(HELD, "")
    if not gate:
        return
    with os.fdopen(int(gate), "rb") as reading:
        told = reading.read()
    if not told:  # it has given up, and said why
        sys.exit(0)
    os.environ.update(json.loads(told))


# What serves, and the error that says what is wrong with its configuration. Each imports its own side only: a gateway
# has neither the database's code nor the CA's in its process.
Service = tuple[Callable[[], Coroutine[Any, Any, None]], type[Exception]]


def _services(name: str, config: Path) -> Service:
    configuration = importlib.import_module("services.config")
    passphrases = importlib.import_module("services.passphrases")
    module = importlib.import_module(f"services.{name}.serve")

    async def serve() -> None:
        settings = configuration.load_settings(config)
        files = settings.tls.credential(name)
        require_credential(files.certificate, files.key, config.parent)
        try:
            await module.serve(settings)
        except passphrases.PassphraseError as error:
            raise Failed(passphrase_text(error, "GOODSTANDING_PASSPHRASE_ISSUING for the key issuing")) from error

    return serve, configuration.ConfigError


def _gateway(config: Path, workers: int | None = None) -> Service:
    error: type[Exception] = importlib.import_module("gateway.config").ConfigError
    return partial(importlib.import_module("gateway.serve").serve, config, workers=workers), error
