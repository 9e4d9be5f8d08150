"""What the words and numbers of OCSP mean, for those who see them for the first time (RFC 6960, RFC 5280, RFC 9919)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.ocsp.cursor import Cursor, Unreadable


class Status(NamedTuple):
    """A responseStatus: its name, what it means, and what to do."""

    name: str
    meaning: str
    advice: str


RESPONSE_STATUSES: Final[Mapping[int, Status]] = {
    0: Status("successful", "there is an answer", ""),
    1: Status(
        "malformedRequest",
        "the responder could not read the request",
        "Correct the request: `goodstanding explain REQUEST` says what is wrong with it. Some responders say this of a "
        "CertID with SHA-256, of several certificates at once, or of a nonce of an unusual length.",
    ),
    2: Status(
        "internalError",
        "something went wrong in the responder",
        "Ask again; if it stays so, tell whoever runs the responder.",
    ),
    3: Status(
        "tryLater",
        "the responder cannot answer just now",
        "Ask again in a moment. If it is ours, `goodstanding explain` with the request says what it waits for.",
    ),
    5: Status(
        "sigRequired", "the responder wants requests to be signed", "Sign the request, or ask another responder."
    ),
    6: Status(
        "unauthorized",
        "the responder may not answer for this issuer, or knows nothing about the certificate for sure",
        "Check that the request was made with the certificate of the issuer (not of the root, and after a roll-over "
        "with the key that signed the certificate), and that this responder is the one that the certificate names. If "
        "it is ours, `goodstanding explain` with the request says which issuer nearly fits.",
    ),
}
"""4 is not used."""

CERT_STATUSES: Final[Mapping[str, str]] = {
    "good": "not revoked (and with this CA: issued by it)",
    "revoked": "not to be trusted any more",
    "unknown": "the responder knows of no such certificate",
}

REASONS: Final[Mapping[int, tuple[str, str]]] = {
    0: ("unspecified", "no reason is given"),
    1: ("keyCompromise", "the private key is, or may be, in other hands"),
    2: ("cACompromise", "the key of a CA is, or may be, in other hands"),
    3: ("affiliationChanged", "the subject's name or other information changed"),
    4: ("superseded", "another certificate has taken its place"),
    5: ("cessationOfOperation", "it is no longer needed"),
    6: ("certificateHold", "it is on hold, and may be released"),
    8: ("removeFromCRL", "it was released from hold: only in delta CRLs, never in OCSP"),
    9: ("privilegeWithdrawn", "a privilege in it was taken back"),
    10: ("aACompromise", "the key of an attribute authority is, or may be, in other hands"),
}

EXTENSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "1.3.6.1.5.5.7.48.1.2": ("nonce", "ties the answer to one request"),
    "1.3.6.1.5.5.7.48.1.3": ("CRL reference", "names the revocation list on which the certificate stands"),
    "1.3.6.1.5.5.7.48.1.4": ("acceptable responses", "the kinds of responses that a client takes; for requests"),
    "1.3.6.1.5.5.7.48.1.6": ("archive cutoff", "how far back statuses of expired certificates are kept"),
    "1.3.6.1.5.5.7.48.1.7": ("service locator", "where the request should be passed on to; for requests"),
    "1.3.6.1.5.5.7.48.1.8": ("preferred signature algorithms", "what a client would like; for requests"),
    "1.3.6.1.5.5.7.48.1.9": (
        "extended revoked",
        "the responder calls serial numbers that were never issued revoked, as on hold since 1970",
    ),
    "2.5.29.21": ("reason code", "belongs into revocation lists, and not here (BR 7.3.2)"),
    "2.5.29.24": ("invalidity date", "since when the certificate has to be distrusted"),
    "1.3.6.1.4.1.11129.2.4.5": ("SCT list", "timestamps of Certificate Transparency logs"),
    "1.3.36.8.3.13": ("certHash", "the hash of the certificate that the answer is about: it was issued"),
}


def value_text(oid: str, value: bytes) -> str:
    """The value of an extension as far as it can be told in a line; in hex otherwise."""
    try:
        return _told(oid, value)
    except Unreadable:
        return value.hex()[:200]


def _told(oid: str, value: bytes) -> str:
    if oid == "1.3.6.1.5.5.7.48.1.2":
        return _nonce(value)
    if oid in ("1.3.6.1.5.5.7.48.1.6", "2.5.29.24"):
        return Cursor(value).take("time", 0x18).content.decode("ascii", "replace")
    if oid == "1.3.6.1.5.5.7.48.1.3":
        return _crl_id(Cursor(value).take("CrlID", 0x30).inside("CrlID"))
    return value.hex()[:200]


def _nonce(value: bytes) -> str:
    """The octets of a nonce, with the OCTET STRING around it or (RFC 2560) without."""
    cursor = Cursor(value)
    if cursor.tag() == 0x04:
        content = cursor.take("nonce", 0x04).content
        if cursor.at_end():
            return content.hex()
    return value.hex()[:300]


def _crl_id(fields: Cursor) -> str:
    told = []
    while not fields.at_end():
        value = fields.take("CrlID", 0xA0, 0xA1, 0xA2)
        inner = value.inside("CrlID").take("CrlID", 0x16, 0x02, 0x18)
        told.append(str(inner.number()) if inner.tag == 0x02 else inner.content.decode("ascii", "replace"))
    return ", ".join(told)
