"""R62 on a running system: an answer names the list that the gateway serves, once a list has the certificate."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from asn1crypto import ocsp as asn1
from cryptography import x509
from cryptography.x509 import ocsp

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


def named_by(system: System, leaf: Path) -> str | None:
    """The address of the list that the answer about a certificate names."""
    asked = urllib.request.Request(system.url, request_for(system, leaf), {"Content-Type": "application/ocsp-request"})
    with urllib.request.urlopen(asked, timeout=10) as reply:
        body = reply.read()
    if ocsp.load_der_ocsp_response(body).certificate_status is not ocsp.OCSPCertStatus.REVOKED:
        return None
    data = asn1.OCSPResponse.load(body)["response_bytes"]["response"].parsed["tbs_response_data"]
    for extension in data["responses"][0]["single_extensions"] or ():
        if extension["extn_id"].dotted == CRL_REFERENCE:
            return str(asn1.CrlId.load(extension["extn_value"].contents)["crl_url"].native)
    return None


def test_an_answer_names_the_list_that_is_served(referring: System) -> None:
    """At the address in the answer is the list that has the certificate, under that number."""
    leaf = referring.issue("listed.example.com")
    assert named_by(referring, leaf) is None
    referring.run("goodstanding", "revoke", "--cert", str(leaf), "--reason", "keyCompromise")
    wait_until(lambda: named_by(referring, leaf) is not None, within=30)
    url = named_by(referring, leaf)
    assert url == f"{referring.url}/crl/issuing.crl"
    with urllib.request.urlopen(url, timeout=10) as reply:
        crl = x509.load_der_x509_crl(reply.read())
    serial = x509.load_pem_x509_certificate(leaf.read_bytes()).serial_number
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    shown = referring.ask("-cert", str(leaf), "-resp_text", "-no_nonce")
    assert f"crlUrl: {url}" in shown
    assert f"crlNum: {number:02X}" in shown
