"""Two other responders that are given an issuer's key and the statuses of its certificates: openssl and certomancer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from asn1crypto import ocsp
from certomancer.registry import ArchLabel, CertomancerConfig, ServiceLabel

from services.pki.keys import plain_key
from tests.conformance.estate import Estate
from tests.conformance.judges.nursery import Leaf
from tests.conformance.judges.tools import require

REASONS = {
    0: "unspecified",
    1: "key_compromise",
    2: "ca_compromise",
    3: "affiliation_changed",
    4: "superseded",
    5: "cessation_of_operation",
    6: "certificate_hold",
    9: "privilege_withdrawn",
    10: "aa_compromise",
}
"""The reasons that a certificate may be revoked for, as asn1crypto and certomancer call them."""

OPENSSL_REASONS = {
    0: "unspecified",
    1: "keyCompromise",
    2: "CACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
}
"""The same in openssl's index; it knows none above 8."""


class Reference(Protocol):
    """A responder for one issuer."""

    def answer(self, request: bytes) -> bytes:
        """The DER of an OCSPResponse."""


class OpenSsl:
    """`openssl ocsp -index`, which is started for each request and listens nowhere."""

    def __init__(self, estate: Estate, issuer: str, leaves: Sequence[Leaf], folder: Path) -> None:
        self._files = {name: folder / f"{issuer}-{name}" for name in ("index", "key", "request", "answer")}
        self._files["key"].write_bytes(plain_key(estate.hierarchy.authorities[issuer].key))
        self._files["index"].write_text("".join(map(_index_line, leaves)))
        authority = str(estate.ca_file(issuer))
        self._command = [
            *(require("openssl"), "ocsp", "-index", str(self._files["index"]), "-CA", authority),
            *("-rsigner", authority, "-rkey", str(self._files["key"]), "-resp_key_id", "-resp_no_certs", "-ndays", "1"),
            *("-reqin", str(self._files["request"]), "-respout", str(self._files["answer"])),
        ]

    def answer(self, request: bytes) -> bytes:
        """The DER of an OCSPResponse."""
        self._files["request"].write_bytes(request)
        done = subprocess.run(self._command, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return self._files["answer"].read_bytes()


def _index_line(leaf: Leaf) -> str:
    """A line of the database of `openssl ca`."""
    serial = f"{leaf.serial:x}"
    serial = serial.zfill(len(serial) + len(serial) % 2).upper()
    revoked = ""
    if leaf.revocation is not None:
        revoked = _index_time(leaf.revocation.time)
        if leaf.revocation.reason in OPENSSL_REASONS:
            revoked += "," + OPENSSL_REASONS[leaf.revocation.reason]
    state = "R" if revoked else "V"
    return f"{state}\t{_index_time(leaf.not_after)}\t{revoked}\t{serial}\tunknown\t/CN={leaf.name}\n"


def _index_time(time: datetime) -> str:
    return f"{time:%y%m%d%H%M%SZ}"


class Certomancer:
    """certomancer's responder, in process, over the very certificates that were issued."""

    def __init__(self, estate: Estate, issuer: str, leaves: Sequence[Leaf], folder: Path) -> None:
        own = folder / f"certomancer-{issuer}"
        own.mkdir()
        (own / "issuer.key").write_bytes(plain_key(estate.hierarchy.authorities[issuer].key))
        (own / "issuer.pem").write_bytes(estate.ca(issuer))
        certificates = {"issuer": _certificate("issuer.pem")}
        for leaf in leaves:
            (own / leaf.file.name).write_bytes(leaf.file.read_bytes())
            certificates[leaf.name] = {**_certificate(leaf.file.name), **_revocation(leaf)}
        config = {
            "keysets": {"keys": {"keys": {"issuer": {"path": "issuer.key"}}}},
            "pki-architectures": {
                "pki": {
                    "keyset": "keys",
                    "entities": {"issuer": {"common-name": issuer}, "leaf": {"common-name": "leaf"}},
                    "certs": {**certificates, "issuer": {**certificates["issuer"], "subject": "issuer"}},
                    "services": {"ocsp": {"responder": {"for-issuer": "issuer", "responder-cert": "issuer"}}},
                }
            },
        }
        # Files are only found below these folders.
        loaded = CertomancerConfig(config, key_search_dir=str(own), config_search_dir=str(own))
        self._services: Any = loaded.get_pki_arch(ArchLabel("pki")).service_registry

    def answer(self, request: bytes) -> bytes:
        """The DER of an OCSPResponse."""
        now = datetime.now(UTC).replace(microsecond=0)
        responder = self._services.summon_responder(ServiceLabel("responder"), now)
        answer: bytes = responder.build_ocsp_response(ocsp.OCSPRequest.load(request)).dump()
        return answer


def _certificate(file: str) -> dict[str, Any]:
    # The validity is asked for, and not used: the certificate is the one in the file.
    validity = {"valid-from": "2020-01-01T00:00:00+0000", "valid-to": "2040-01-01T00:00:00+0000"}
    return {"issuer": "issuer", "subject": "leaf", "certificate-file": file, "validity": validity}


def _revocation(leaf: Leaf) -> dict[str, Any]:
    if leaf.revocation is None:
        return {}
    since = leaf.revocation.time.isoformat()
    return {"revocation": {"revoked-since": since, "reason": REASONS[leaf.revocation.reason]}}


REFERENCES: Mapping[str, Callable[[Estate, str, Sequence[Leaf], Path], Reference]] = {
    "openssl": OpenSsl,
    "certomancer": Certomancer,
}
