"""What the gateway counts, for `/metrics` on the operator address."""

from __future__ import annotations

import sys
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from gateway.tally import Tallies

ANSWERS = Tallies(
    "goodstanding_ocsp_answers_total",
    "OCSP answers by where their status came from (hot: ready answer; cached; looked_up), or by their error",
    "source",
    (
        "hot",
        "cached",
        "looked_up",
        "malformed_request",
        "internal_error",
        "try_later",
        "sig_required",
        "unauthorized",
    ),
).by_value
LOOK_UPS = Counter("goodstanding_status_look_ups_total", "Certificates looked up at the status service")
_CACHED = Gauge("goodstanding_cache_entries", "Certificates whose status is held")
_CACHED_BYTES = Gauge("goodstanding_cache_bytes", "Memory for statuses and ready answers, estimated")
_REVISION = Gauge("goodstanding_revision", "The revision up to which every change is known")
_EVIDENCE_AGE = Gauge("goodstanding_evidence_age_seconds", "Seconds since the latest answered ping was sent")
_BLOCKS = Gauge("goodstanding_memory_blocks", "Blocks of memory that Python objects hold; bounded, whatever is asked")
_BLOCKS.set_function(sys.getallocatedblocks)
SIGNER_EXPIRY_NAME = "goodstanding_signer_not_after_seconds"
SIGNER_EXPIRY = Gauge(SIGNER_EXPIRY_NAME, "When the responder certificate ends", ["issuer"])


def export(
    entries: Callable[[], float], size: Callable[[], float], revision: Callable[[], float], age: Callable[[], float]
) -> None:
    """Let the gauges be read from the parts that know."""
    _CACHED.set_function(entries)
    _CACHED_BYTES.set_function(size)
    _REVISION.set_function(revision)
    _EVIDENCE_AGE.set_function(age)


def signer_changed(issuer: str, not_after: float) -> None:
    """An issuer has another responder certificate."""
    SIGNER_EXPIRY.labels(issuer).set(not_after)
