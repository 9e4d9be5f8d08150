"""What the ledger of the audit log makes of certificates: holds, releases, imports, and what happens meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.cli.audit_statuses import Ledger

BEGAN, ISSUED, ENDS, LATER = (f"2026-0{month}-01T00:00:00Z" for month in range(1, 5))
HELD = {"revocation_time": LATER, "reason": "certificateHold", "invalidity_time": None}
REVOKED = {"revocation_time": LATER, "reason": "keyCompromise", "invalidity_time": ISSUED}


def line(method: str, serial: str, details: dict[str, Any], result: str = "OK") -> str:
    """A line of the log, with what the ledger looks at."""
    entry = {"method": method, "result": result, "issuer": "issuing", "serial_number": serial, "time": BEGAN}
    return json.dumps({**entry, "details": details})


def issued(serial: str = "01", profile: str = "server") -> str:
    """A certificate was issued."""
    return line("IssueCertificate", serial, {"profile": profile, "not_after_time": ENDS})


def changed(action: str, revocation: dict[str, Any] | None = None, serial: str = "01", method: str = "") -> str:
    """A certificate was revoked, held or released."""
    given = {name: value for name, value in (revocation or {}).items() if value}
    return line(method or "RevokeCertificate", serial, {"action": action, **given})


def recorded(serial: str = "01", **fields: Any) -> dict[str, Any]:
    """A certificate as listed."""
    return {
        "issuer": "issuing",
        "serial_number": serial,
        "profile": "server",
        "not_after_time": ENDS,
        "issue_time": ISSUED,
        "issued_by": {"identity": "spiffe://goodstanding/issuer/web"},
        "revocation": None,
        **fields,
    }


STORIES: dict[str, tuple[list[str], dict[str, Any], str | None]] = {
    "issued": ([issued()], recorded(), None),
    "revoked": ([issued(), changed("revoke", REVOKED)], recorded(revocation=REVOKED), None),
    "on hold": ([issued(), changed("hold", HELD)], recorded(revocation=HELD), None),
    "released": ([issued(), changed("hold", HELD), changed("release")], recorded(), None),
    "a hold that became a revocation": (
        [issued(), changed("hold", HELD), changed("revoke", REVOKED)],
        recorded(revocation=REVOKED),
        None,
    ),
    "found so already": ([issued(), changed("revoke", REVOKED), changed("none")], recorded(revocation=REVOKED), None),
    "refused": ([issued(), line("RevokeCertificate", "01", {}, "NOT_ON_HOLD")], recorded(), None),
    "imported": ([issued("02")], recorded(profile="imported", revocation=HELD), None),
    "imported, and revoked by another import": (
        [changed("revoke", REVOKED, method="ImportCertificates")],
        recorded(profile="imported", revocation=REVOKED),
        None,
    ),
    "from before the log": ([issued("02")], recorded(issue_time="2025-12-31T23:59:59Z"), None),
    "no line of a log": (["nonsense", "[]", "null", '{"details": 1}', issued()], recorded(), None),
    "revoked by hand": ([issued()], recorded(revocation=REVOKED), "reason keyCompromise, and the log says good"),
    "released by hand": ([issued(), changed("hold", HELD)], recorded(), "as good, and the log says on hold since"),
    "another invalidity time": (
        [issued(), changed("revoke", REVOKED)],
        recorded(revocation={**REVOKED, "invalidity_time": None}),
        "not to be trusted since",
    ),
    "imported, and released by hand": (
        [changed("revoke", REVOKED, method="ImportCertificates")],
        recorded(profile="imported"),
        "as good, and the log says revoked",
    ),
    "another profile": ([issued()], recorded(profile="client"), "recorded as client until"),
    "nobody has issued it": ([issued("02")], recorded(), "which the log does not tell of"),
}


@pytest.mark.parametrize(("lines", "certificate", "told"), STORIES.values(), ids=STORIES)
def test_what_a_ledger_says(lines: list[str], certificate: dict[str, Any], told: str | None) -> None:
    """It has a word against a certificate exactly where something was done that the log does not tell of."""
    ledger = Ledger()
    for each in lines:
        ledger.take(each)
    text = ledger.see(certificate)
    assert text is told if told is None else told in (text or "")


def test_what_was_not_seen() -> None:
    """Missing is what was issued before certificates were looked at, and was not among them."""
    ledger = Ledger()
    for serial in ("01", "02", "03"):
        ledger.take(issued(serial))
    ledger.reading = False
    ledger.see(recorded("01"))
    assert ledger.see(recorded("02", revocation=HELD))
    ledger.take(issued("04"))
    assert list(ledger.missing()) == [("issuing", "03")]
    ledger.take(changed("hold", HELD, "02"))
    assert ledger.see(recorded("02", revocation=HELD)) is None
