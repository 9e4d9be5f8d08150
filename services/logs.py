"""Logs of a service: one JSON object a line on stderr, or coloured lines on a terminal.

gRPC's core reports a failed TLS handshake (no client certificate, an expired one, one of another authority) nowhere but
in its own log, in lines of its own form, written to file descriptor 2 from C. So that descriptor becomes a pipe here;
a thread turns the core's lines into log events like all others, and passes on whatever else arrives as it is.

It has to be set up before grpc is imported: the core reads its log settings then.

Anybody can have handshakes fail, thousands in a second: after the first few, one in a second is told, and how many
were not.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import structlog

_CORE_LINE = re.compile(r"([IWEF])[0-9]{4} [0-9:.]+ +[0-9]+ ([\w.]+:[0-9]+)\] (.*)")
_CORE_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_HANDSHAKE = re.compile(r"Handshake failed with error .*?OPENSSL_internal:(\w+)(?:: (.*))?")
_HANDSHAKE_TEXTS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate",
    "certificate has expired": "the client certificate has expired",
    "certificate is not yet valid": "the client certificate is not valid yet",
    "unsupported certificate purpose": "the client certificate is not for clients (extended key usage)",
    "unable to get local issuer certificate": "the client certificate is of another authority",
    "self signed certificate": "the client certificate is of another authority",
    "certificate signature failure": "the client certificate is of another authority",
}

_HANDSHAKES_AT_ONCE = 30


class Ration:
    """Lets so many events pass, and then one more for each second that has gone by. Belongs to one thread."""

    def __init__(self, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(at_once)
        self._left = self._most
        self._clock = clock
        self._looked_at = clock()
        self._held_back = 0

    def take(self) -> int | None:
        """How many events were held back since the last one that passed; None if this one is held back, too."""
        now = self._clock()
        self._left = min(self._most, self._left + now - self._looked_at)
        self._looked_at = now
        if self._left < 1:
            self._held_back += 1
            return None
        self._left -= 1
        held_back, self._held_back = self._held_back, 0
        return held_back


def configure_logging(service: str, *, grpc: bool = True) -> None:
    """Set up structlog and the standard library's logging: JSON, or coloured lines where stderr is a terminal.

    Imports neither grpc nor anything that does. Call it first thing in a process, once; modules use
    `structlog.get_logger(__name__)`. Without `grpc`, in a process that never imports it, stderr is left as it is.
    """
    as_json = not sys.stderr.isatty()
    _configure(service, _take_over_stderr() if grpc else sys.stderr, as_json)


def _configure(service: str, output: TextIO, as_json: bool) -> None:
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    # Plain tracebacks: structlog's own would print local variables, and so passphrases and keys.
    final: list[Any] = [_escaped, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    if as_json:
        final = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(output)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final]
    )
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _named(service: str) -> Any:
    def add_service(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("service", service)
        return event

    return add_service


def _escaped(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Nothing in an event drives a terminal: libraries quote what strangers sent. Values are quoted as they are."""
    text = str(event["event"])
    event["event"] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return event


def _take_over_stderr() -> TextIO:
    """Point descriptor 2 to a pipe that `_pass_on` reads, and return the real stderr for Python to write to."""
    # The core tells of handshakes at INFO, which is its default, but not where this variable asks for less.
    os.environ.pop("GRPC_VERBOSITY", None)
    real = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    reading, writing = os.pipe()
    # Lost lines are better than a core thread that waits for a reader that waits for that thread.
    os.set_blocking(writing, False)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = real
    faulthandler.enable(real)
    threading.Thread(target=_pass_on, args=(reading, real), name="core-log", daemon=True).start()
    return real


def _pass_on(reading: int, real: TextIO) -> None:
    handshakes = Ration(_HANDSHAKES_AT_ONCE)
    with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            core = _CORE_LINE.fullmatch(line.rstrip("\n"))
            if core is None:
                real.write(line)
                continue
            _log_core_line(core[1], core[2], core[3], handshakes)


def _log_core_line(severity: str, place: str, text: str, handshakes: Ration) -> None:
    log = structlog.get_logger("grpc")
    handshake = explain_handshake(text)
    if handshake is not None:
        held_back = handshakes.take()
        if held_back is not None:
            log.warning("tls handshake failed", reason=handshake, **({"not_told": held_back} if held_back else {}))
    elif "absl::InitializeLog" not in text:
        log.log(_CORE_LEVELS[severity], text, place=place)


def explain_handshake(text: str) -> str | None:
    """Why a client got no connection, if that is what a line of gRPC's core tells."""
    found = _HANDSHAKE.search(text)
    if found is None:
        return None
    code, detail = found[1], found[2] or ""
    return _HANDSHAKE_TEXTS.get(code) or _HANDSHAKE_TEXTS.get(detail) or f"{code} {detail}".rstrip()
