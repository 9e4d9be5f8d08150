"""A2: requests that are not DER are malformed, whatever is wrong and wherever (R17, R18, R19, R22)."""

from __future__ import annotations

from base64 import b64encode, encodebytes

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conformance.mutations import MUTATIONS, Mutation, Node, full_request
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Responder, request, tbs_request, tlv

MALFORMED = "malformed_request"
NULL = b"\x05\x00"


@pytest.fixture(scope="module")
def tree(subject: Subject) -> Node:
    """A good request with everything in it, as a tree."""
    name, key, serial = (subject.issuer.subject.sha1, subject.issuer.public_key.sha1, subject.serial)
    certificate = subject.issuer.contents
    return full_request(name, key, serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True), certificate)


@pytest.mark.rule("R17")
def test_the_request_that_is_spoilt_below_is_good(responder: Responder, subject: Subject, tree: Node) -> None:
    """Without a mutation it is answered, by POST and by GET, so it is the mutation that is refused."""
    for reply in (responder.post(tree.encode()), responder.get(tree.encode())):
        answer = subject.verified(reply)
        assert answer.status == "good"
        assert echoed(answer) == [subject.cert_id()]
        assert answer.nonce == tlv(4, b"n" * 32)


@pytest.mark.rule("R17")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_what_is_not_der_is_malformed(responder: Responder, tree: Node, mutation: Mutation) -> None:
    """One wrong octet or value, at any level, by either method."""
    body = tree.encode(mutation.node, mutation.mutate)
    assert body != tree.encode()
    assert responder.post(body).ocsp_status == MALFORMED
    assert responder.get(body).ocsp_status == MALFORMED


AFTER_THE_END = {
    "a-zero": b"\x00",
    "end-of-contents": b"\x00\x00",
    "a-null": NULL,
    "a-line-end": b"\r\n",
    "another-request": None,
}


@pytest.mark.rule("R17")
@pytest.mark.parametrize("name", AFTER_THE_END)
def test_octets_after_the_end(responder: Responder, subject: Subject, name: str) -> None:
    """Nothing may follow the request, not even another one."""
    good = request(subject.cert_id())
    body = good + (AFTER_THE_END[name] or good)
    assert responder.post(body).ocsp_status == MALFORMED
    assert responder.get(body).ocsp_status == MALFORMED


@pytest.mark.rule("R17", "R22")
def test_no_part_of_a_request_is_a_request(responder: Responder, subject: Subject) -> None:
    """Cut off after any number of octets it is malformed."""
    good = request(subject.cert_id())
    for size in range(len(good)):
        assert responder.post(good[:size]).ocsp_status == MALFORMED, size


@pytest.mark.rule("R17")
@pytest.mark.parametrize(
    "order",
    [
        pytest.param((1, 0, 2), id="list-before-name"),
        pytest.param((0, 2, 1), id="extensions-before-list"),
        pytest.param((2, 1, 0), id="all-reversed"),
    ],
)
def test_fields_out_of_order(responder: Responder, tree: Node, order: tuple[int, ...]) -> None:
    """The fields of a SEQUENCE have an order."""
    assert isinstance(tree.content, tuple)
    fields = tree.content[0].content
    assert isinstance(fields, tuple)
    body = tlv(0x30, tlv(0x30, *[fields[index].encode() for index in order]))
    assert responder.post(body).ocsp_status == MALFORMED


VERSIONS = {
    "v1-encoded": "020100",
    "v2": "020101",
    "v3": "020102",
    "minus-one": "0201ff",
    "beyond-64-bits": "0209010000000000000000",
    "empty-integer": "0200",
    "no-value": "",
    "a-boolean": "010100",
    "two-values": "020100020100",
    "non-minimal": "02020000",
}


@pytest.mark.rule("R18")
@pytest.mark.parametrize("name", VERSIONS)
def test_any_version_that_is_written_down(responder: Responder, subject: Subject, name: str) -> None:
    """v1 is the DEFAULT, which DER leaves out; there is no other version."""
    der = bytes.fromhex(VERSIONS[name])
    rest = tbs_request(subject.cert_id())[2:]
    body = tlv(0x30, tlv(0x30, tlv(0xA0, der), rest))
    assert responder.post(body).ocsp_status == MALFORMED
    assert responder.get(body).ocsp_status == MALFORMED


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    "extensions", [[], [b"\x30\x0b\x06\x03\x2a\x03\x04\x04\x04\x05\x00\x05\x00"]], ids=["bare", "extensions"]
)
def test_an_empty_list_of_requests(responder: Responder, extensions: list[bytes]) -> None:
    """Somebody has to be asked about."""
    body = request(extensions=extensions)
    assert responder.post(body).ocsp_status == MALFORMED
    assert responder.get(body).ocsp_status == MALFORMED


def _pem(content: bytes, label: str) -> bytes:
    return f"-----BEGIN {label}-----\n{encodebytes(content).decode()}-----END {label}-----\n".encode()


JUNK = {
    "nothing": b"",
    "a-zero": b"\x00",
    "a-tag": b"\x30",
    "an-empty-sequence": b"\x30\x00",
    "sequences-in-each-other": bytes.fromhex("3004300230003000"),
    "a-null": NULL,
    "an-ocsp-error": bytes.fromhex("30030a0101"),
    "html": b"<!DOCTYPE html><html><body>OCSP</body></html>",
    "json": b'{"serial": 1}',
    "a-form": b"request=MEIwQDA%2B",
    "spaces": b"  \r\n  ",
    "all-ones": b"\xff" * 64,
    "all-zeros": bytes(4096),
    "utf-16": "OCSP".encode("utf-16"),
    "every-octet": bytes(range(256)),
}


@pytest.mark.rule("R22")
@pytest.mark.parametrize("name", JUNK)
def test_junk(responder: Responder, name: str) -> None:
    """What is no request at all is malformed too."""
    assert responder.post(JUNK[name]).ocsp_status == MALFORMED


@pytest.mark.rule("R22")
def test_other_things_that_are_der_or_hold_a_request(responder: Responder, subject: Subject) -> None:
    """A certificate, an answer, a CertID, and a request in an envelope."""
    good = request(subject.cert_id())
    others = {
        "a certificate": subject.ca.public_bytes(Encoding.DER),
        "a certificate in PEM": subject.ca.public_bytes(Encoding.PEM),
        "an answer": responder.post(good).body,
        "a CertID": subject.cert_id(),
        "a TBSRequest": tbs_request(subject.cert_id()),
        "a request in PEM": _pem(good, "OCSP REQUEST"),
        "a request in base64": b64encode(good),
        "a request in hexadecimal": good.hex().encode(),
        "a request in an OCTET STRING": tlv(4, good),
        "a request after a byte order mark": b"\xef\xbb\xbf" + good,
    }
    assert {name: responder.post(body).ocsp_status for name, body in others.items()} == dict.fromkeys(others, MALFORMED)
