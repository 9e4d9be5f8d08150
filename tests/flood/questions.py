"""What a flood asks: HTTP messages without end, made as they are sent. Only the standard library: it has to start fast.

Every message is one that the gateway accepts, and hardly any two are the same octets.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

SERIALS, SPELLINGS, CYCLING = KINDS = ("serials", "spellings", "cycling")
"""Random serial numbers; random encodings of one CertID; one real serial number after the other."""
HOT = "hot"
"""What everybody asks: a few real serial numbers, always in the same octets."""
PATHS = "paths"
"""The same by GET, hardly ever in the same octets: what needs no more than a look at the path."""

_HASHES = {
    "sha1": "06052b0e03021a",
    "sha256": "0609608648016503040201",
    "sha384": "0609608648016503040202",
    "sha512": "0609608648016503040203",
}
_NULL = b"\x05\x00"
_NONCE = bytes.fromhex("06092b0601050507300102")
_ACCEPTABLE = bytes.fromhex("06092b0601050507300104")
_BASIC = bytes.fromhex("06092b0601050507300101")
_PRIVATE_ARC = bytes.fromhex("2b0601040181fd59")
"""1.3.6.1.4.1.32473, an arc for examples (RFC 5612): nobody knows what is below it."""


def tlv(tag: int, *content: bytes) -> bytes:
    """DER of a tag, the length, and the content."""
    joined = b"".join(content)
    size = len(joined)
    if size < 128:
        return bytes((tag, size)) + joined
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + joined


@dataclass(frozen=True)
class IssuerNames:
    """What CertIDs call an issuer: its name and key, hashed by name of the hash function (hex)."""

    names: dict[str, str]
    keys: dict[str, str]

    @classmethod
    def of(cls, subject: bytes, public_key: bytes) -> IssuerNames:
        """`subject`: the name in DER; `public_key`: the value of the BIT STRING."""
        return cls(
            {name: hashlib.new(name, subject).hexdigest() for name in _HASHES},
            {name: hashlib.new(name, public_key).hexdigest() for name in _HASHES},
        )

    def cert_id(self, serial: int, hash_name: str = "sha1", parameters: bytes = _NULL) -> bytes:
        """The DER of a CertID."""
        return tlv(
            0x30,
            tlv(0x30, bytes.fromhex(_HASHES[hash_name]), parameters),
            tlv(0x04, bytes.fromhex(self.names[hash_name])),
            tlv(0x04, bytes.fromhex(self.keys[hash_name])),
            tlv(0x02, serial.to_bytes(serial.bit_length() // 8 + 1)),
        )


def request(cert_id: bytes, single: bytes = b"", requestor: bytes = b"", extensions: bytes = b"") -> bytes:
    """The DER of an OCSPRequest; extensions are DER behind each other, and left out where they are empty."""
    return tlv(
        0x30,
        tlv(
            0x30,
            tlv(0xA1, requestor) if requestor else b"",
            tlv(0x30, tlv(0x30, cert_id, tlv(0xA0, tlv(0x30, single)) if single else b"")),
            tlv(0xA2, tlv(0x30, extensions)) if extensions else b"",
        ),
    )


def post(der: bytes) -> bytes:
    """A request as HTTP POST."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n"
    return head % len(der) + der


def get(path: bytes) -> bytes:
    """A GET of a path."""
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path


def questions(kind: str, issuer: IssuerNames, serials: Sequence[int], seed: int) -> Iterator[bytes]:
    """Messages of one kind. `serials` are real; `seed` makes the same floods the same."""
    return _MAKERS[kind](issuer, serials, random.Random(seed))


def _plain(issuer: IssuerNames, serials: Sequence[int], _: random.Random) -> Iterator[bytes]:
    return cycle([post(request(issuer.cert_id(serial))) for serial in serials])


def _random_serials(issuer: IssuerNames, _: Sequence[int], chance: random.Random) -> Iterator[bytes]:
    whole = request(issuer.cert_id(1 << 126))
    before = whole[:-16]
    while True:
        # Positive, and sixteen octets in the shortest form.
        der = before + bytes((chance.randrange(1, 128),)) + chance.randbytes(15)
        yield get(b"/" + base64.b64encode(der)) if chance.random() < 0.1 else post(der)


def _spellings(issuer: IssuerNames, serials: Sequence[int], chance: random.Random) -> Iterator[bytes]:
    cert_ids = [issuer.cert_id(serials[0], name, parameters) for name in _HASHES for parameters in (_NULL, b"")]
    makers: list[Callable[[random.Random], tuple[bytes, bytes, bytes]]] = [
        lambda _: (b"", b"", b""),
        lambda chance: (b"", _requestor(chance), b""),
        lambda chance: (_unknown_extension(chance), b"", b""),
        lambda chance: (b"", b"", _unknown_extension(chance)),
        lambda chance: (b"", b"", _acceptable(chance)),
        lambda chance: (b"", b"", _nonce(chance)),
        lambda chance: (_unknown_extension(chance), _requestor(chance), _unknown_extension(chance) + _nonce(chance)),
    ]
    while True:
        der = request(chance.choice(cert_ids), *chance.choice(makers)(chance))
        yield get(_path(der, chance)) if chance.random() < 0.1 else post(der)


def _paths(issuer: IssuerNames, serials: Sequence[int], chance: random.Random) -> Iterator[bytes]:
    ders = cycle([request(issuer.cert_id(serial)) for serial in serials])
    while True:
        # Lower case or upper case for each octet: twice to the power of more than a hundred.
        yield get(
            b"/"
            + b"".join(
                b"%%%02x" % octet if chance.random() < 0.5 else b"%%%02X" % octet
                for octet in base64.b64encode(next(ders))
            )
        )


def _requestor(chance: random.Random) -> bytes:
    kind = chance.choice((0x81, 0x82, 0x86))  # rfc822Name, dNSName, URI
    return tlv(kind, chance.randbytes(chance.randrange(1, 32)).hex().encode())


def _unknown_extension(chance: random.Random) -> bytes:
    oid = tlv(0x06, _PRIVATE_ARC, bytes((chance.randrange(1, 128), chance.randrange(1, 128))))
    return tlv(0x30, oid, tlv(0x04, chance.randbytes(chance.randrange(200))))


def _acceptable(chance: random.Random) -> bytes:
    other = tlv(0x06, _PRIVATE_ARC, bytes((chance.randrange(1, 128),)))
    return tlv(0x30, _ACCEPTABLE, tlv(0x04, tlv(0x30, _BASIC, other)))


def _nonce(chance: random.Random) -> bytes:
    return tlv(0x30, _NONCE, tlv(0x04, tlv(0x04, chance.randbytes(chance.randrange(1, 65)))))


def _path(der: bytes, chance: random.Random) -> bytes:
    """One of the many paths that stand for a request: slashes before it, padding left out, any octet escaped."""
    text = base64.b64encode(der)
    if chance.random() < 0.3:
        text = text.rstrip(b"=")
    often = chance.choice((0.0, 0.05, 0.5))
    hexadecimal = chance.choice(("%%%02x", "%%%02X"))
    # A slash at the beginning of the data would be one too many before it.
    written = "".join(hexadecimal % octet if chance.random() < often else chr(octet) for octet in text)
    return b"/" * chance.randrange(1, 4) + written.encode()


_MAKERS = {SERIALS: _random_serials, SPELLINGS: _spellings, CYCLING: _plain, HOT: _plain, PATHS: _paths}
