from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from asn1crypto import algos, ocsp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.ocsp.der import check_der
from gateway.ocsp.request import MalformedRequest, OcspRequest, parse_request, plain_request
from gateway.ocsp.response import OcspStatus, error_response

# --- Requests put together octet by octet, so that any part can be wrong. ---


def header(tag: int, length: int) -> bytes:
    """Tag and length, in DER."""
    if length < 128:
        return bytes([tag, length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(size)]) + size


def der(tag: int, *parts: bytes) -> bytes:
    """One value, in DER."""
    content = b"".join(parts)
    return header(tag, len(content)) + content


def seq(*parts: bytes) -> bytes:
    """A SEQUENCE."""
    return der(0x30, *parts)


SHA1, SHA256, SHA384, SHA512 = (
    bytes.fromhex(oid) for oid in ("06052b0e03021a", *(f"06096086480165030402{n}" for n in ("01", "02", "03")))
)
MD5 = bytes.fromhex("06082a864886f70d0205")
NULL = b"\x05\x00"
SERIAL = b"\x02\x01\x07"
NONCE, ACCEPTABLE, LOCATOR, PREFERRED = (bytes.fromhex(f"06092b06010505073001{n}") for n in ("02", "04", "07", "08"))
PRIVATE = bytes.fromhex("06032a0304")
CRITICAL = b"\x01\x01\xff"
OTHER_VALUES = [seq(), seq(bytes.fromhex("06092b0601050507300101")), b"\x02\x01\x05"]


def cert_id(
    algorithm: bytes = seq(SHA1, NULL),
    name_hash: bytes = der(4, b"n" * 20),
    key_hash: bytes = der(4, b"k" * 20),
    serial: bytes = SERIAL,
    after: bytes = b"",
) -> bytes:
    """A CertID."""
    return seq(algorithm, name_hash, key_hash, serial, after)


def extension(oid: bytes, value: bytes, critical: bytes = b"") -> bytes:
    """An Extension around `value`."""
    return seq(oid, critical, der(4, value))


def request(
    *singles: bytes, version: bytes = b"", name: bytes = b"", extensions: bytes = b"", signature: bytes = b""
) -> bytes:
    """An OCSPRequest about the given Requests."""
    return seq(seq(version, name, seq(*(singles or (seq(cert_id()),))), extensions), signature)


def with_extensions(*extensions: bytes) -> bytes:
    """An OCSPRequest with these requestExtensions."""
    return request(extensions=der(0xA2, seq(*extensions)))


def with_single_extensions(*extensions: bytes) -> bytes:
    """An OCSPRequest with these singleRequestExtensions."""
    return request(seq(cert_id(), der(0xA0, seq(*extensions))))


def with_cert_id(**parts: bytes) -> bytes:
    """An OCSPRequest with one CertID."""
    return request(seq(cert_id(**parts)))


def with_nonce(value: bytes) -> bytes:
    """An OCSPRequest whose nonce extension holds `value`."""
    return with_extensions(extension(NONCE, value))


def signed(*certificates: bytes, algorithm: bytes = seq(SHA256, NULL), bits: bytes = b"\x03\x02\x00\x05") -> bytes:
    """The optionalSignature."""
    return der(0xA0, seq(algorithm, bits, der(0xA0, seq(*certificates)) if certificates else b""))


GOOD = request()
NAME = der(0xA1, der(0x82, b"client.example"))

MALFORMED = {
    # R22
    "nothing": b"",
    "one octet": b"\x30",
    "an error response": error_response(OcspStatus.TRY_LATER),
    "PEM": b"-----BEGIN OCSP REQUEST-----\nMAA=\n",
    "HTML": b"<html></html>",
    "null": NULL,
    "empty sequence": seq(),
    # R17
    "cut off": GOOD[:-1],
    "octet after it": GOOD + b"\x00",
    "octets after it": GOOD + NULL,
    "something after the TBSRequest": seq(GOOD[2:], NULL),
    "something after requestList": seq(seq(seq(seq(cert_id())), NULL)),
    "something after reqCert": request(seq(cert_id(), NULL)),
    "something after the serial": with_cert_id(after=NULL),
    "non-minimal length": b"\x30\x81" + GOOD[1:],
    "non-minimal length inside": seq(b"\x30\x81" + GOOD[3:]),
    "non-minimal length of CertID": request(seq(b"\x30\x81" + cert_id()[1:])),
    "non-minimal length of a hash": with_cert_id(name_hash=b"\x04\x81\x14" + b"n" * 20),
    "indefinite length": b"\x30\x80" + GOOD[2:] + b"\x00\x00",
    "indefinite length of requestList": seq(seq(b"\x30\x80", seq(cert_id()), b"\x00\x00")),
    "constructed octet string": with_cert_id(key_hash=der(0x24, der(4, b"k" * 20))),
    "leading zero in serial": with_cert_id(serial=b"\x02\x02\x00\x07"),
    "leading ones in serial": with_cert_id(serial=b"\x02\x02\xff\x87"),
    "empty serial": with_cert_id(serial=b"\x02\x00"),
    "serial is an octet string": with_cert_id(serial=b"\x04\x01\x07"),
    "critical is 01": with_extensions(extension(PRIVATE, NULL, b"\x01\x01\x01")),
    "critical is false, spelled out": with_extensions(extension(PRIVATE, NULL, b"\x01\x01\x00")),
    "octet string as SEQUENCE tag": b"\x04" + GOOD[1:],
    "hash algorithm: parameters not in DER": with_cert_id(algorithm=seq(MD5, b"\x05\x81\x00")),
    "hash algorithm: NULL not in DER": with_cert_id(algorithm=seq(SHA1, b"\x05\x81\x00")),
    "hash algorithm: NULL with content": with_cert_id(algorithm=seq(SHA1, b"\x05\x01\x00")),
    "hash algorithm: two parameters": with_cert_id(algorithm=seq(SHA1, NULL, NULL)),
    "hash algorithm: BER deep in parameters": with_cert_id(algorithm=seq(SHA1, seq(seq(b"\x01\x01\x02")))),
    "hash algorithm: none": with_cert_id(algorithm=seq()),
    "hash algorithm: not an OID": with_cert_id(algorithm=seq(NULL)),
    "hash algorithm: an OID only": with_cert_id(algorithm=SHA1),
    "hash algorithm: OID cut off": with_cert_id(algorithm=seq(b"\x06\x02\x2a\x81")),
    # R18
    "version v1 spelled out": request(version=der(0xA0, b"\x02\x01\x00")),
    "version v2": request(version=der(0xA0, b"\x02\x01\x01")),
    "version -1": request(version=der(0xA0, b"\x02\x01\xff")),
    "version too large": request(version=der(0xA0, der(2, b"\x7f" * 1000))),
    "version empty": request(version=der(0xA0)),
    "version twice": request(version=der(0xA0, b"\x02\x01\x01", b"\x02\x01\x01")),
    # R19
    "no requests": seq(seq(seq())),
    "no requestList": seq(seq()),
    "a request without CertID": request(seq()),
    # R23
    "requestorName empty": request(name=der(0xA1)),
    "requestorName twice": request(name=der(0xA1, der(0x82, b"a"), der(0x82, b"b"))),
    "requestorName of no known form": request(name=der(0xA1, der(0x89, b"a"))),
    "requestorName is not tagged": request(name=der(0xA1, der(0x16, b"a"))),
    "requestorName in pieces": request(name=der(0xA1, der(0xA2, der(0x16, b"a")))),
    "requestorName not in DER": request(name=der(0xA1, b"\x82\x81\x01a")),
    "requestorName: BER in directoryName": request(name=der(0xA1, der(0xA4, seq(b"\x31\x80\x00\x00")))),
    "requestorName implicitly tagged": request(name=der(0x81, b"a")),
    # R34
    "nonce of 0 octets": with_nonce(der(4)),
    "nonce of 129 octets": with_nonce(der(4, bytes(129))),
    "nonce of 255 octets": with_nonce(der(4, bytes(255))),
    "nonce of 1000 octets": with_nonce(der(4, bytes(1000))),
    # R36
    "bare nonce of 0 octets": with_nonce(b""),
    "bare nonce of 129 octets": with_nonce(b"x" * 129),
    # R17 in the nonce
    "nonce with non-minimal length": with_nonce(b"\x04\x81\x10" + bytes(16)),
    "nonce with longer non-minimal length": with_nonce(b"\x04\x82\x00\x10" + bytes(16)),
    "nonce in pieces": with_nonce(der(0x24, der(4, bytes(16)))),
    "nonce in pieces, indefinite": with_nonce(b"\x24\x80" + der(4, bytes(16)) + b"\x00\x00"),
    "octet after the nonce": with_nonce(der(4, bytes(16)) + b"\x00"),
    # R37
    "nonce twice": with_extensions(*2 * [extension(NONCE, der(4, bytes(16)))]),
    "unknown extension twice": with_extensions(*2 * [extension(PRIVATE, NULL)]),
    "single extension twice": with_single_extensions(*2 * [extension(LOCATOR, seq())]),
    # R38
    "unknown critical extension": with_extensions(extension(PRIVATE, NULL, CRITICAL)),
    "unknown critical single extension": with_single_extensions(extension(PRIVATE, NULL, CRITICAL)),
    "critical nonce in a single request": with_single_extensions(extension(NONCE, der(4, bytes(16)), CRITICAL)),
    "critical locator in requestExtensions": with_extensions(extension(LOCATOR, seq(), CRITICAL)),
    "no extension in requestExtensions": with_extensions(),
    "no extension in singleRequestExtensions": with_single_extensions(),
    "extension without value": with_extensions(seq(PRIVATE)),
    "something after extnValue": with_extensions(seq(PRIVATE, der(4), NULL)),
    "BER in acceptable responses": with_extensions(extension(ACCEPTABLE, b"\x30\x80\x00\x00")),
    "octet after acceptable responses": with_extensions(extension(ACCEPTABLE, seq() + b"\x00")),
    "empty acceptable responses": with_extensions(extension(ACCEPTABLE, b"")),
    "BER in preferred algorithms": with_extensions(extension(PREFERRED, b"\x30\x81\x00")),
    "BER in a service locator": with_single_extensions(extension(LOCATOR, b"\x30\x81\x00")),
    # R24
    "signature without bits": request(signature=der(0xA0, seq(seq(SHA256, NULL)))),
    "signature algorithm not in DER": request(signature=signed(algorithm=seq(SHA256, b"\x05\x81\x00"))),
    "signature with unused bits set": request(signature=signed(bits=b"\x03\x02\x01\x05")),
    "signature with a certificate that is none": request(signature=signed(NULL)),
    "signature with BER in a certificate": request(signature=signed(seq(b"\x30\x81\x00"))),
    "two signatures": request(signature=2 * signed()),
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_requests_are_refused(octets: bytes) -> None:
    """What is not an OCSP request in DER is malformed."""
    with pytest.raises(MalformedRequest):
        parse_request(octets)


ACCEPTED = {
    "one": request(),
    "requestorName dNSName": request(name=NAME),  # R23
    "requestorName directoryName": request(name=der(0xA1, der(0xA4, seq()))),
    "requestorName otherName": request(name=der(0xA1, der(0xA0, PRIVATE, der(0xA0, NULL)))),
    "requestorName registeredID": request(name=der(0xA1, der(0x88, b"\x2a\x03"))),
    "unknown extension": with_extensions(extension(PRIVATE, NULL)),  # R38
    "unknown extension, any octets in it": with_extensions(extension(PRIVATE, b"\x30\x80 not DER")),
    "unknown single extension": with_single_extensions(extension(PRIVATE, b"")),
    "nonce in a single request": with_single_extensions(extension(NONCE, der(4, bytes(16)))),  # R33
    "service locator": with_single_extensions(extension(LOCATOR, seq(seq(), seq()))),  # R41
    "critical service locator": with_single_extensions(extension(LOCATOR, seq(seq(), seq()), CRITICAL)),
    "service locator at the wrong place": with_extensions(extension(LOCATOR, seq())),
    "signed": request(name=NAME, signature=signed()),  # R24
    "signed, without requestorName": request(signature=signed()),
}
for _value in OTHER_VALUES:  # R39, R40, R42
    for _oid, _title in ((ACCEPTABLE, "acceptable responses"), (PREFERRED, "preferred algorithms")):
        for _flag in (b"", CRITICAL):
            _id = f"{'critical ' if _flag else ''}{_title} {_value.hex()}"
            ACCEPTED[_id] = with_extensions(extension(_oid, _value, _flag))


@pytest.mark.parametrize("octets", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_does_not_matter_is_ignored(octets: bytes) -> None:
    """Names, signatures and extensions that change nothing are taken."""
    parsed = parse_request(octets)
    assert [asked.der for asked in parsed.cert_ids] == [cert_id()]
    assert parsed.nonce is None


# R34
@pytest.mark.parametrize("critical", [b"", CRITICAL], ids=["", "critical"])  # R39
@pytest.mark.parametrize("size", [1, 15, 16, 31, 32, 33, 64, 127, 128])
def test_nonce_is_kept_as_it_came(size: int, critical: bytes) -> None:
    """A nonce of 1 to 128 octets comes back with its tag and length."""
    nonce = der(4, bytes(range(size)))
    parsed = parse_request(with_extensions(extension(PRIVATE, NULL), extension(NONCE, nonce, critical)))
    assert parsed.nonce == nonce


# R36
@pytest.mark.parametrize(
    "bare",
    [
        b"\x01",
        b"\x04",
        b"x" * 16,
        b"\x04" + b"\xf0" * 15,
        b"\x04\x10" + b"x" * 15,
        b"\x24\x84" + b"\xff" * 14,
        b"x" * 128,
    ],
    ids=["one octet", "04 alone", "16", "begins with 04", "cut off", "begins with 24", "128"],
)
def test_bare_nonce_counts_as_none(bare: bytes) -> None:
    """A nonce without OCTET STRING around it is treated as absent."""
    parsed = parse_request(with_nonce(bare))
    assert parsed.nonce is None


HASHES = {
    f"{name}{'' if null else ', parameters absent'}": (name, size, seq(oid, null))
    for name, size, oid in (("sha1", 20, SHA1), ("sha256", 32, SHA256), ("sha384", 48, SHA384), ("sha512", 64, SHA512))
    for null in (NULL, b"")
}


# R26, R29
@pytest.mark.parametrize(("name", "size", "algorithm"), HASHES.values(), ids=HASHES.keys())
def test_hash_algorithms_are_recognised(name: str, size: int, algorithm: bytes) -> None:
    """The four hash functions are known, parameters NULL or absent, and the CertID is kept octet for octet."""
    asked = cert_id(algorithm, der(4, b"N" * size), der(4, b"K" * size))
    (parsed,) = parse_request(request(seq(asked))).cert_ids
    assert parsed.der == asked
    assert parsed.hash_algorithm == name
    assert parsed.issuer_name_hash == b"N" * size
    assert parsed.issuer_key_hash == b"K" * size


UNSUPPORTED = {
    "md5": {"algorithm": seq(MD5, NULL)},
    "private": {"algorithm": seq(PRIVATE, seq(NULL))},
    "sha-1 with other parameters": {"algorithm": seq(SHA1, seq())},
    "name hash too short": {"name_hash": der(4, bytes(19))},
    "key hash too long": {"key_hash": der(4, bytes(21))},
    "sha-256 with hashes of sha-1": {"algorithm": seq(SHA256, NULL)},
    "empty hashes": {"name_hash": der(4), "key_hash": der(4)},
}


# R30
@pytest.mark.parametrize("parts", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_unsupported_hashes_are_named_none(parts: dict[str, bytes]) -> None:
    """Another hash function, or a hash of another length, is well-formed but not supported."""
    (parsed,) = parse_request(with_cert_id(**parts)).cert_ids
    assert parsed.hash_algorithm is None
    assert parsed.der == cert_id(**parts)


# R31
@pytest.mark.parametrize(
    ("content", "serial"),
    [
        ("07", "07"),
        ("0080", "80"),
        ("7f" + 19 * "ff", "7f" + 19 * "ff"),
        ("00" + 20 * "ff", 20 * "ff"),
        ("01" + 20 * "00", None),
        ("00" + 21 * "ff", None),
        ("00", None),
        ("ff", None),
        ("80" + 19 * "00", None),
    ],
)
def test_serials_of_1_to_20_octets(content: str, serial: str | None) -> None:
    """Serials are unsigned and without leading zeros; zero, negative and longer ones are nobody's."""
    (parsed,) = parse_request(with_cert_id(serial=der(2, bytes.fromhex(content)))).cert_ids
    assert parsed.serial == (None if serial is None else bytes.fromhex(serial))


# R20
def test_several_requests_keep_their_order() -> None:
    """CertIDs come in the order asked, repetitions included."""
    asked = [cert_id(serial=der(2, bytes([n]))) for n in (5, 3, 5, 9)]
    parsed = parse_request(request(*(seq(one) for one in asked)))
    assert [one.der for one in parsed.cert_ids] == asked


# R70
def test_number_of_requests_is_limited() -> None:
    """100 CertIDs are accepted by default, 101 are malformed, and the limit can be set."""
    assert len(parse_request(request(*100 * [seq(cert_id())])).cert_ids) == 100
    with pytest.raises(MalformedRequest):
        parse_request(request(*101 * [seq(cert_id())]))
    with pytest.raises(MalformedRequest):
        parse_request(request(*2 * [seq(cert_id())]), max_requests=1)


# R24
def test_signature_is_kept_in_pieces() -> None:
    """What a later verification needs is there: the signed octets, algorithm, signature, certificates and name."""
    octets = request(name=NAME, signature=signed(seq(NULL), seq()))
    parsed = parse_request(octets)
    assert parsed.signed
    assert parsed.signature is not None
    assert parsed.signature.tbs in octets
    assert seq(parsed.signature.tbs, signed(seq(NULL), seq())) == octets
    assert parsed.signature.algorithm == seq(SHA256, NULL)
    assert parsed.signature.value == b"\x05"
    assert parsed.signature.certificates == (seq(NULL), seq())
    assert parsed.signature.requestor_name == NAME[2:]
    assert not parse_request(GOOD).signed


def _nested(size: int) -> bytes:
    """SEQUENCEs in one another, nothing else."""
    headers: list[bytes] = []
    length = 0
    while length < size:
        headers.append(header(0x30, length))
        length += len(headers[-1])
    return b"".join(reversed(headers))


def _sets() -> bytes:
    value = der(0x31, NULL * 200_000)
    for _ in range(25):
        value = der(0x31, b"\x02\x01\x00", value)
    return value


MEGABYTE = 1 << 20
HUGE: dict[str, Callable[[], bytes]] = {
    "indefinite lengths": lambda: b"\x30\x80" * (MEGABYTE // 2),
    "zeros after a request": lambda: GOOD + bytes(MEGABYTE),
    "deep nesting": lambda: _nested(MEGABYTE),
    "deep nesting in requestorName": lambda: request(name=der(0xA1, der(0xA4, _nested(MEGABYTE)))),
    "deep nesting in parameters": lambda: with_cert_id(algorithm=seq(SHA1, _nested(MEGABYTE))),
    "huge serial": lambda: with_cert_id(serial=der(2, b"\x7f" * MEGABYTE)),
    "huge version": lambda: request(version=der(0xA0, der(2, b"\x7f" * MEGABYTE))),
    "huge hash": lambda: with_cert_id(name_hash=der(4, bytes(MEGABYTE))),
    "huge nonce": lambda: with_nonce(der(4, bytes(MEGABYTE))),
    "100,000 requests": lambda: request(*100_000 * [seq(cert_id())]),
    "100,000 extensions": lambda: with_extensions(
        *(
            extension(der(6, b"\x2a", bytes([0x81 + n // 16384, 0x80 | n // 128 % 128, n % 128])), b"")
            for n in range(100_000)
        )
    ),
    "100,000 certificates": lambda: request(signature=signed(*100_000 * [seq(NULL)])),
    "nested SETs": lambda: request(name=der(0xA1, der(0xA4, _sets()))),
}


# R25
@pytest.mark.parametrize("build", HUGE.values(), ids=HUGE.keys())
def test_huge_input_takes_bounded_time(build: Callable[[], bytes]) -> None:
    """A megabyte of trouble is done with in well under the time of a client's patience."""
    octets = build()
    begin = time.process_time()
    _parse_or_malformed(octets)
    assert time.process_time() - begin < 5


def _parse_or_malformed(octets: bytes) -> OcspRequest | None:
    try:
        return parse_request(octets)
    except MalformedRequest:
        return None


@given(st.binary(max_size=200))
def test_any_octets_parse_or_are_malformed(octets: bytes) -> None:
    """Nothing but MalformedRequest is ever raised."""
    _parse_or_malformed(octets)


SEEDS = [*ACCEPTED.values(), *MALFORMED.values(), with_nonce(der(4, bytes(32))), request(*3 * [seq(cert_id())])]


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.data())
def test_any_mutation_parses_or_is_malformed(seed: bytes, data: st.DataObject) -> None:
    """Mutated requests raise nothing but MalformedRequest, and what still parses is DER throughout (R17)."""
    octets = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets)))
        octets[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    parsed = _parse_or_malformed(bytes(octets))
    if parsed is not None:
        check_der(bytes(octets))
        assert all(one.der in octets for one in parsed.cert_ids)


hash_names = st.sampled_from(["sha1", "sha256", "sha384", "sha512"])
sizes = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}


@st.composite
def asked_certificates(draw: st.DrawFn) -> ocsp.CertId:
    """A CertID, made with asn1crypto."""
    name = draw(hash_names)
    parameters = draw(st.sampled_from([{}, {"parameters": None}]))
    return ocsp.CertId(
        {
            "hash_algorithm": algos.DigestAlgorithm({"algorithm": name, **parameters}),
            "issuer_name_hash": draw(st.binary(min_size=sizes[name], max_size=sizes[name])),
            "issuer_key_hash": draw(st.binary(min_size=sizes[name], max_size=sizes[name])),
            "serial_number": draw(st.integers(1, (1 << 160) - 1)),
        }
    )


@settings(max_examples=100)
@given(st.lists(asked_certificates(), min_size=1, max_size=5), st.none() | st.binary(min_size=1, max_size=128))
@example([], None).xfail(raises=MalformedRequest)
def test_requests_of_another_encoder_are_understood(asked: list[ocsp.CertId], nonce: bytes | None) -> None:
    """Requests encoded by asn1crypto parse to the same values."""
    tbs = ocsp.TBSRequest({"request_list": [{"req_cert": one} for one in asked]})
    if nonce is not None:
        tbs["request_extensions"] = [{"extn_id": "nonce", "extn_value": nonce}]
    parsed = parse_request(ocsp.OCSPRequest({"tbs_request": tbs}).dump())
    assert [one.der for one in parsed.cert_ids] == [one.dump() for one in asked]
    assert [one.hash_algorithm for one in parsed.cert_ids] == [
        one["hash_algorithm"]["algorithm"].native for one in asked
    ]
    assert [one.issuer_key_hash for one in parsed.cert_ids] == [one["issuer_key_hash"].native for one in asked]
    assert [int.from_bytes(one.serial or b"") for one in parsed.cert_ids] == [
        one["serial_number"].native for one in asked
    ]
    assert parsed.nonce == (None if nonce is None else der(4, nonce))


def test_a_plain_request_holds_one_cert_id_and_nothing_else() -> None:
    """It is what a client sends that wants nothing special, octet for octet."""
    assert plain_request(cert_id()) == GOOD
