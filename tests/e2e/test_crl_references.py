"""R62 on a running system: an answer names the list that the gateway serves, once a list has the certificate."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import ocsp as asn1
from cryptography import x509
from cryptography.x509 import ocsp

from services.db import crls
from services.db.engine import Database
from services.db.issuers import list_issuers
from services.db.records import CrlRecord
from services.pki.certificates import Issuer
from services.pki.crls import CrlEntry, make_crl
from services.pki.keys import load_key
from services.pki.reasons import Reason
from services.pki.serials import serial_from_int
from tests.e2e.system import System
from tests.e2e.test_ocsp import request_for
from tests.waiting import wait_until

CRL_REFERENCE = "1.3.6.1.5.5.7.48.1.3"


@pytest.fixture(scope="module")
def referring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose gateway names lists."""
    system = System(tmp_path_factory.mktemp("referring"), GOODSTANDING_GATEWAY__CRL_REFERENCE="true").start()
    yield system
    assert system.stop() == 0


def publish(system: System, number: int, *serials: int) -> bytes:
    """Publish a list of the issuing CA."""
    folder, now = system.data, datetime.now(UTC).replace(microsecond=0)
    passphrase = (folder / "secrets/issuing.passphrase").read_bytes().strip()
    key = load_key((folder / "ca/issuing.key").read_bytes(), passphrase)
    issuer = Issuer(x509.load_pem_x509_certificate((folder / "ca/issuing.pem").read_bytes()), key)
    entries = [CrlEntry(serial_from_int(serial), now, Reason.KEY_COMPROMISE) for serial in serials]
    until = now + timedelta(days=1)
    der = make_crl(issuer, entries, number=number, this_update=now, next_update=until)
    db = Database.open(f"sqlite:///{folder}/goodstanding.db")
    with db.write() as conn:
        (id_,) = [record.id for record in list_issuers(conn) if record.name == "issuing"]
        crls.add_crl(conn, CrlRecord(id_, number, der, now, until))
    db.close()
    return der


def named_by(system: System, leaf: Path) -> str | None:
    """The address of the list that the answer about a certificate names."""
    asked = urllib.request.Request(system.url, request_for(system, leaf), {"Content-Type": "application/ocsp-request"})
    with urllib.request.urlopen(asked, timeout=10) as reply:
        body = reply.read()
    assert ocsp.load_der_ocsp_response(body).certificate_status is ocsp.OCSPCertStatus.REVOKED
    data = asn1.OCSPResponse.load(body)["response_bytes"]["response"].parsed["tbs_response_data"]
    for extension in data["responses"][0]["single_extensions"] or ():
        if extension["extn_id"].dotted == CRL_REFERENCE:
            return str(asn1.CrlId.load(extension["extn_value"].contents)["crl_url"].native)
    return None


def test_an_answer_names_the_list_that_is_served(referring: System) -> None:
    """Not before the list has the certificate; and at the address in the answer is that very list."""
    leaf = referring.issue("listed.example.com")
    referring.run("goodstanding", "revoke", "--cert", str(leaf), "--reason", "keyCompromise")
    referring.ask_until(": revoked", "-cert", str(leaf))
    assert named_by(referring, leaf) is None
    der = publish(referring, 7, x509.load_pem_x509_certificate(leaf.read_bytes()).serial_number)
    wait_until(lambda: named_by(referring, leaf) is not None, within=30)
    url = named_by(referring, leaf)
    assert url == f"{referring.url}/crl/issuing.crl"
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert reply.read() == der
    shown = referring.ask("-cert", str(leaf), "-resp_text", "-no_nonce")
    assert f"crlUrl: {url}" in shown
    assert "crlNum: 07" in shown
