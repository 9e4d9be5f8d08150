"""The fingerprints of denied client certificates, at most a quarter of a second (and one look-up) old."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_logger = structlog.get_logger(__name__)


class DenyList:
    """Polls `load` in a thread of its own. A failed load is logged, and the last list stays in force."""

    def __init__(self, load: Callable[[], frozenset[str]], *, interval: float = 0.25) -> None:
        self._load = load
        self._interval = interval
        self._denied: frozenset[str] = frozenset()
        self._callbacks: list[Callable[[frozenset[str]], None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="deny-list", daemon=True)
        self._failing = False

    def start(self) -> None:
        """Load once (whatever that raises is raised: nobody is let in on an unread list), then keep polling."""
        self._denied = self._load()
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, and wait for the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_denied(self, fingerprint: str) -> bool:
        """Whether that certificate (SHA-256, lower-case hex) is denied."""
        return fingerprint in self._denied

    def subscribe(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call `callback` from the polling thread, with the new list, whenever it changes."""
        self._callbacks.append(callback)

    def _poll(self) -> None:
        while not self._stopping.wait(self._interval):
            self._refresh()

    def _refresh(self) -> None:
        try:
            denied = self._load()
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must go on with the list it has
            self._report(failing=True, error=error)
            return
        self._report(failing=False)
        if denied != self._denied:
            self._denied = denied
            self._notify(denied)

    def _notify(self, denied: frozenset[str]) -> None:
        for callback in self._callbacks:
            try:
                callback(denied)
            except Exception:  # one that fails must not keep the others from hearing of it
                _logger.exception("deny list callback failed")

    def _report(self, *, failing: bool, error: Exception | None = None) -> None:
        """Say it once when it starts to fail, and once when it is over: four lines a second would bury the cause."""
        if failing and not self._failing:
            _logger.error("deny list cannot be read; the last one stays in force", error=str(error))
        if self._failing and not failing:
            _logger.info("deny list can be read again")
        self._failing = failing
