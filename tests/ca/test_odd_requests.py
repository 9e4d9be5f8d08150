"""Requests built from odd names and keys, through the real gRPC service: never an INTERNAL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from asn1crypto import csr as asn1_csr
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa
from google.protobuf.duration_pb2 import Duration
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli.client import find
from services.cli.options import Connection
from services.rpc.client import open_channel
from tests.command import Up

EXAMPLES = 250
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The ca service of a running system, with the built-in profiles."""
    up = Up(tmp_path_factory.mktemp("odd") / "data")
    try:
        up.wait_ready()
        folder = Path(up.data)
        material = find(Connection(folder), "ca")
        with open_channel(material.address, material.ca_pem, material.cert_pem, material.key_pem) as channel:
            yield ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
    finally:
        up.kill()


@cache
def keys() -> list[Any]:
    """Keys of every kind that a library makes, allowed or not."""
    return [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        rsa.generate_private_key(3, 2048),
        rsa.generate_private_key(65537, 1024),
        ed25519.Ed25519PrivateKey.generate(),
        ed448.Ed448PrivateKey.generate(),
        dsa.generate_private_key(1024),
        mldsa.MLDSA44PrivateKey.generate(),
    ]


def spki(key: Any) -> bytes:
    """The public key of a private one."""
    der: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return der


SHARE = st.integers(0, 999)
ODD_TEXT = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", " ", ".", "*", "*.", "a..b", "\0", "xn--", "xn--a", "0x7f.1", "a" * 64, "é.example", "\u202e"]
    ),
    st.from_regex(r"(\*\.)?[a-z0-9-]{1,12}(\.[a-z0-9-]{1,12}){0,3}\.?", fullmatch=True),
)
ADDRESS = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
# Half of the names are good, or hardly anything would get past the first check.
GOOD = st.sampled_from(
    [
        (0x82, b"a.example"),
        (0x82, b"*.B.example"),
        (0x87, b"\x0a\0\0\1"),
        (0x81, b"a@b.example"),
        (0x86, b"spiffe://other.example/a"),
        (0x86, b"urn:a:b"),
    ]
)
NAME = st.one_of(
    GOOD,
    GOOD,
    GOOD,
    GOOD,
    GOOD,
    GOOD,
    st.tuples(st.just(0x82), ODD_TEXT.map(lambda text: text.encode("utf-8", "replace"))),
    st.tuples(st.just(0x81), ODD_TEXT.map(lambda text: b"a@" + text.encode("utf-8", "replace"))),
    st.tuples(st.just(0x86), ODD_TEXT.map(lambda text: b"https://" + text.encode("utf-8", "replace"))),
    st.tuples(st.just(0x86), st.binary(max_size=20)),
    st.tuples(st.just(0x87), ADDRESS),
    st.tuples(st.sampled_from([0xA0, 0xA3, 0xA4, 0xA5, 0x88, 0x89, 0x02]), st.binary(max_size=20)),
)
ATTRIBUTE = st.sampled_from([("2.5.4.3", 0x0C, b"a.example"), ("2.5.4.6", 0x13, b"NL")]) | st.tuples(
    st.sampled_from(["2.5.4.3", "2.5.4.6", "2.5.4.10", "2.5.4.5", "2.5.4.65", "1.2.3.4", "1.2.840.113549.1.9.1"]),
    st.sampled_from([0x0C, 0x13, 0x16, 0x14, 0x1E, 0x1C, 0x03, 0x02, 0x30]),
    st.one_of(ODD_TEXT.map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=70)),
)


def tlv(tag: int, content: bytes) -> bytes:
    """One element of DER."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def oid(text: str) -> bytes:
    """An object identifier."""
    return bytes(asn1_x509.ObjectIdentifier(text).dump())


def signature(key: Any, data: bytes) -> tuple[bytes, bytes]:
    """AlgorithmIdentifier and signature; nonsense for keys that we cannot sign with here."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return tlv(0x30, oid("1.2.840.10045.4.3.2")), key.sign(data, ec.ECDSA(hashes.SHA256()))
        case rsa.RSAPrivateKey():
            algorithm = tlv(0x30, oid("1.2.840.113549.1.1.11") + b"\x05\x00")
            return algorithm, key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey():
            return tlv(0x30, oid("1.3.101.112")), key.sign(data)
        case mldsa.MLDSA44PrivateKey():
            return tlv(0x30, oid("2.16.840.1.101.3.4.3.17")), key.sign(data)
    return tlv(0x30, oid("1.2.840.10045.4.3.2")), b"\x30\x00"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request in DER: mostly well-formed and properly signed, with odd things in it, and sometimes broken."""
    key = draw(st.sampled_from(keys()))
    public_key = spki(key)
    if draw(st.integers(0, 9)) == 0:
        place = draw(SHARE) * len(public_key) // 1000
        public_key = public_key[:place] + draw(st.binary(min_size=1, max_size=1)) + public_key[place + 1 :]
    rdns = [
        tlv(0x31, tlv(0x30, oid(kind) + tlv(tag, content)))
        for kind, tag, content in draw(st.lists(ATTRIBUTE, max_size=4))
    ]
    names = b"".join(tlv(tag, content) for tag, content in draw(st.lists(NAME, max_size=6)))
    extensions = tlv(0x30, oid("2.5.29.17") + tlv(0x04, tlv(0x30, names)))
    if draw(st.booleans()):
        extensions += tlv(0x30, oid("2.5.29.19") + b"\x01\x01\xff" + tlv(0x04, b"\x30\x03\x01\x01\xff"))
    if draw(st.integers(0, 19)) == 0:
        extensions += extensions
    attribute = tlv(0x30, oid("1.2.840.113549.1.9.14") + tlv(0x31, tlv(0x30, extensions)))
    if draw(st.integers(0, 19)) == 0:
        attribute += attribute
    version = draw(st.sampled_from([b"\x02\x01\x00"] * 29 + [b"\x02\x01\x01", b"\x02\x01\xff"]))
    info = tlv(0x30, version + tlv(0x30, b"".join(rdns)) + public_key + tlv(0xA0, attribute))
    algorithm, signed = signature(key, info)
    der = tlv(0x30, info + algorithm + tlv(0x03, b"\x00" + signed))
    if draw(st.integers(0, 9)) == 0:
        place = draw(SHARE) * len(der) // 1000  # signatures are not always equally long
        der = der[:place] + draw(st.binary(max_size=3)) + der[place + 1 :]
    return der


@st.composite
def calls(draw: st.DrawFn) -> ca_pb2.IssueCertificateRequest:
    """A whole call, with odd wishes beside the request."""
    message = ca_pb2.IssueCertificateRequest(
        csr_der=draw(requests()),
        profile=draw(
            st.sampled_from(
                ["", "server", "server-short", "client", "client", "client", "intermediate", "ocsp-responder", "x"]
            )
        ),
        validate_only=draw(st.booleans()),
    )
    if draw(st.booleans()):
        text = ODD_TEXT.filter(lambda value: not any("\ud800" <= letter <= "\udfff" for letter in value))
        listed = st.lists(text, max_size=3)
        message.subject_alternative_names.CopyFrom(
            ca_pb2.SubjectAlternativeNames(
                dns_names=draw(listed), ip_addresses=draw(listed), email_addresses=draw(listed), uris=draw(listed)
            )
        )
    if draw(st.booleans()):
        message.validity.CopyFrom(Duration(seconds=draw(st.integers(1, 10**7) | st.integers(-(2**40), 2**40))))
    return message


def outcome(stub: Any, message: ca_pb2.IssueCertificateRequest) -> tuple[Any, Any]:
    """The response or the error of a call."""
    try:
        return stub.IssueCertificate(message, timeout=20), None
    except grpc.RpcError as error:
        return None, error


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(message=calls())
def test_no_request_is_an_internal_error(stub: Any, message: ca_pb2.IssueCertificateRequest) -> None:
    """Each is issued, or refused with a stable reason and, where the request is at fault, a field (R114 to R116)."""
    response, error = outcome(stub, message)
    if error is not None:
        assert error.code() in REFUSALS, (error.code(), error.details())
        assert rpc_status.from_call(error).details
        return
    if not message.validate_only:
        certificate = x509.load_der_x509_certificate(response.certificate.certificate_der)
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert certificate.not_valid_after_utc - certificate.not_valid_before_utc < timedelta(days=825)


def test_requests_of_these_tests_can_be_good(stub: Any) -> None:
    """What is built here is not refused for its form: with plain names it is issued."""
    key = keys()[0]
    names = tlv(0x30, oid("2.5.29.17") + tlv(0x04, tlv(0x30, tlv(0x82, b"a.example"))))
    attribute = tlv(0x30, oid("1.2.840.113549.1.9.14") + tlv(0x31, tlv(0x30, names)))
    info = tlv(0x30, b"\x02\x01\x00" + tlv(0x30, b"") + spki(key) + tlv(0xA0, attribute))
    algorithm, signed = signature(key, info)
    der = tlv(0x30, info + algorithm + tlv(0x03, b"\x00" + signed))
    assert asn1_csr.CertificationRequest.load(der).native
    assert asn1_keys.PublicKeyInfo.load(spki(key)).native
    response = stub.IssueCertificate(ca_pb2.IssueCertificateRequest(csr_der=der), timeout=20)
    assert list(response.certificate.subject_alternative_names) == ["DNS:a.example"]
