"""Requests that are wrong in one place: a good one as a tree, and what can be done to each of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.conformance.wire import NONCE, tlv

SEQUENCE, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, BOOLEAN = 0x30, 0x02, 0x03, 0x04, 0x05, 0x06, 0x01
CONSTRUCTED = 0x20

SHA1 = bytes.fromhex("2b0e03021a")
SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
PKIX_OCSP = bytes.fromhex("2b06010505073001")
NONCE_OID = PKIX_OCSP + bytes([int(NONCE.rpartition(".")[2])])
LOCATOR_OID = PKIX_OCSP + b"\x07"
PRIVATE_OID = bytes.fromhex("2b0601040182371501")

Mutate = Callable[[int, bytes], bytes]
"""From a tag and a content to the octets that stand in the place of that value."""


@dataclass(frozen=True)
class Node:
    """One value of the request."""

    name: str
    tag: int
    content: bytes | tuple[Node, ...]
    required: bool = True
    """Whether the request would be wrong without it."""
    item: bool = False
    """Whether there may be several of it."""
    empty: bool = False
    """Whether it may be empty."""

    @property
    def constructed(self) -> bool:
        return bool(self.tag & CONSTRUCTED)

    def walk(self) -> Iterator[Node]:
        """The node itself, and all below it."""
        yield self
        if isinstance(self.content, tuple):
            for child in self.content:
                yield from child.walk()

    def encode(self, name: str = "", mutate: Mutate = tlv) -> bytes:
        """The DER of the tree, with `mutate` in the place of DER where `name` is."""
        parts = (each.encode(name, mutate) for each in self.content) if isinstance(self.content, tuple) else ()
        content = self.content if isinstance(self.content, bytes) else b"".join(parts)
        return (mutate if self.name == name else tlv)(self.tag, content)


def full_request(name_hash: bytes, key_hash: bytes, serial: bytes, certificate: bytes) -> Node:
    """An OCSPRequest with everything that may be in one. `certificate`: the content of a Certificate."""
    cert_id = Node(
        "CertID",
        SEQUENCE,
        (
            Node("hashAlgorithm", SEQUENCE, (Node("hash-OID", OID, SHA1), Node("hash-NULL", NULL, b"", False))),
            Node("issuerNameHash", OCTET_STRING, name_hash, empty=True),
            Node("issuerKeyHash", OCTET_STRING, key_hash, empty=True),
            Node("serialNumber", INTEGER, serial),
        ),
    )
    locator = Node(
        "single-Extension",
        SEQUENCE,
        (Node("single-extnID", OID, LOCATOR_OID), Node("single-extnValue", OCTET_STRING, b"\x30\x02\x30\x00")),
    )
    singles = Node("singleRequestExtensions", 0xA0, (Node("single-Extensions", SEQUENCE, (locator,)),), False)
    nonce = Node(
        "Extension",
        SEQUENCE,
        (
            Node("extnID", OID, NONCE_OID),
            Node("critical", BOOLEAN, b"\xff", False),
            Node("extnValue", OCTET_STRING, tlv(OCTET_STRING, b"n" * 32)),
        ),
    )
    tbs = Node(
        "TBSRequest",
        SEQUENCE,
        (
            Node("requestorName", 0xA1, (Node("GeneralName", 0x82, b"client.example.com", empty=True),), False),
            Node("requestList", SEQUENCE, (Node("Request", SEQUENCE, (cert_id, singles), item=True),)),
            Node("requestExtensions", 0xA2, (Node("Extensions", SEQUENCE, (nonce,)),), False),
        ),
    )
    algorithm = (Node("signature-OID", OID, SHA256_WITH_RSA), Node("signature-NULL", NULL, b"", False))
    signature = Node(
        "Signature",
        SEQUENCE,
        (
            Node("signatureAlgorithm", SEQUENCE, algorithm),
            Node("signature", BIT_STRING, b"\x00" + b"s" * 256),
            Node(
                "certs",
                0xA0,
                (
                    Node(
                        "certs-list",
                        SEQUENCE,
                        (Node("Certificate", SEQUENCE, certificate, False, item=True),),
                        empty=True,
                    ),
                ),
                False,
            ),
        ),
    )
    return Node("OCSPRequest", SEQUENCE, (tbs, Node("optionalSignature", 0xA0, (signature,), False)))


@dataclass(frozen=True)
class Mutation:
    """One way to spoil a request: what is done, and at which node."""

    what: str
    node: str
    mutate: Mutate

    def __str__(self) -> str:
        return f"{self.what}-{self.node}"


def length(size: int, more: int = 0) -> bytes:
    """A length with so many octets more than DER has."""
    octets = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    if size < 0x80 and not more:
        return octets
    octets = bytes(more - (size < 0x80)) + octets
    return bytes([0x80 | len(octets)]) + octets


def _long_length(more: int) -> Mutate:
    return lambda tag, content: bytes([tag]) + length(len(content), more) + content


def _other_length(change: int) -> Mutate:
    return lambda tag, content: bytes([tag]) + length(max(0, len(content) + change)) + content


def _indefinite(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80]) + content + b"\x00\x00"


def _in_segments(tag: int, content: bytes) -> bytes:
    first = content[:1] if tag == BIT_STRING else b""
    half = len(content) // 2
    return tlv(tag | CONSTRUCTED, tlv(tag, content[:half]), tlv(tag, first + content[half:]))


def _trailing(tag: int, content: bytes) -> bytes:
    return tlv(tag, content, tlv(NULL))


def _containing(value: str) -> Mutate:
    return lambda tag, _: tlv(tag, bytes.fromhex(value))


def _of_kind(*tags: int) -> Callable[[Node], bool]:
    return lambda node: node.tag in tags


_ANYWHERE: tuple[tuple[str, Callable[[Node], bool], Mutate], ...] = (
    ("length-one-octet-too-many", lambda _: True, _long_length(1)),
    ("length-three-octets-too-many", lambda _: True, _long_length(3)),
    ("length-beyond-the-end", lambda _: True, _other_length(+1)),
    ("length-of-four-gigabytes", lambda _: True, lambda tag, content: bytes([tag]) + b"\x84\xff\xff\xff\xff" + content),
    ("length-reserved", lambda _: True, lambda tag, content: bytes([tag]) + b"\xff" + content),
    ("length-too-short", lambda node: node.tag != NULL, _other_length(-1)),
    ("indefinite-length", lambda node: node.constructed, _indefinite),
    ("constructed-string", _of_kind(OCTET_STRING, BIT_STRING), _in_segments),
    ("primitive-sequence", _of_kind(SEQUENCE), lambda tag, content: tlv(tag & ~CONSTRUCTED, content)),
    ("trailing-value-inside", lambda node: node.constructed and node.name != "Certificate", _trailing),
    ("trailing-zeros-inside", lambda node: node.constructed, lambda tag, content: tlv(tag, content, bytes(2))),
    (
        "another-tag",
        lambda node: node.tag != NULL,  # parameters may be of any type
        lambda tag, content: tlv(0xBE if tag & CONSTRUCTED else 0x9E, content),
    ),
    ("high-tag-number", lambda _: True, lambda tag, content: bytes([tag | 0x1F]) + tlv(tag & 0x1F, content)),
    ("missing", lambda node: node.required and node.name != "OCSPRequest", lambda *_: b""),
    ("twice", lambda node: not node.item, lambda tag, content: tlv(tag, content) * 2),
    (
        "empty",
        lambda node: node.tag != NULL and not node.empty and node.name not in ("extnValue", "Certificate"),
        lambda tag, _: tlv(tag),
    ),
    ("leading-zero", _of_kind(INTEGER), lambda tag, content: tlv(tag, b"\x00", bytes([content[0] & 0x7F]), content)),
    ("leading-ff", _of_kind(INTEGER), lambda tag, content: tlv(tag, b"\xff", bytes([content[0] | 0x80]), content)),
    ("true-as-01", _of_kind(BOOLEAN), _containing("01")),
    ("default-false-encoded", _of_kind(BOOLEAN), _containing("00")),
    ("two-octets", _of_kind(BOOLEAN), _containing("ffff")),
    ("with-content", _of_kind(NULL), _containing("00")),
    ("padded-arc", _of_kind(OID), lambda tag, content: tlv(tag, content[:-1], b"\x80", content[-1:])),
    ("unfinished-arc", _of_kind(OID), lambda tag, content: tlv(tag, content, b"\x81")),
    ("eight-unused-bits", _of_kind(BIT_STRING), lambda tag, content: tlv(tag, b"\x08", content[1:])),
    ("unused-bits-set", _of_kind(BIT_STRING), lambda tag, content: tlv(tag, b"\x01", content[1:-1], b"\xff")),
    ("unused-bits-of-nothing", _of_kind(BIT_STRING), _containing("01")),
)

_TEMPLATE = full_request(b"n" * 20, b"k" * 20, b"\x07", b"")

MUTATIONS = tuple(
    Mutation(what, node.name, mutate)
    for what, applies, mutate in _ANYWHERE
    for node in _TEMPLATE.walk()
    if applies(node)
)
