"""The hash that tells a retry from another call under the same request id (G6).

It covers parsed values, not protobuf bytes: the same request in PEM and in DER, or from a client that spells defaults
out, is the same. Changing what is hashed makes retries across an upgrade look like other calls for seven days.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from services.clock import to_epoch

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

Value = str | int | bytes | datetime | timedelta | Sequence[str] | None


def payload_sha256(values: Mapping[str, Value]) -> bytes:
    """The SHA-256 of named values, whatever their order."""
    plain = {name: _plain(value) for name, value in values.items()}
    return hashlib.sha256(_encode(plain).encode()).digest()


def _plain(value: Value) -> object:
    match value:
        case bytes():
            return hashlib.sha256(value).hexdigest()
        case datetime():
            return to_epoch(value)
        case timedelta():
            return int(value.total_seconds())
        case _:
            return value
