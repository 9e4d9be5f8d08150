"""A2: whatever the size and the depth, a request takes little time and memory (R25)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.estate import Estate, Gateway
from tests.conformance.request_signing import ECDSA_SHA256, signed_request
from tests.conformance.subjects import Subject
from tests.conformance.wire import Reply, extension, nonce, request, tbs_request, tlv

CAP = 32 * 1024
"""Octets in the body of a POST that is read (R11)."""
ROOM = CAP - 400
"""What is left of them beside the rest of a request."""
WITHIN = 10.0
"""Seconds for any answer (R88)."""
MEMORY = 64 * 1024
"""KiB that the gateway may have grown by, after all of this."""

PRIVATE, PREFERRED, LOCATOR = "1.3.6.1.4.1.55555.1", "1.3.6.1.5.5.7.48.1.8", "1.3.6.1.5.5.7.48.1.7"


@pytest.fixture(scope="module")
def gateway(estate: Estate) -> Gateway:
    """A gateway of its own, so that what it takes can be measured."""
    return estate.gateway("bounds")


def nested(tag: int, room: int) -> bytes:
    """One value in another, with definite lengths, as deep as fits."""
    headers: list[bytes] = []
    size = 0
    while True:
        header = tlv(tag, bytes(size))[: -size or None]
        if size + len(header) > room:
            return b"".join(reversed(headers))
        headers.append(header)
        size += len(header)


def many(value: bytes, room: int = ROOM) -> bytes:
    """The value again and again, as often as fits."""
    return value * (room // len(value))


def numbered_extensions(room: int = ROOM) -> list[bytes]:
    """Extensions with an OID of their own each."""
    found: list[bytes] = []
    while room > 0:
        found.append(extension(f"{PRIVATE}.{len(found)}", b"\x05\x00"))
        room -= len(found[-1]) + 1
    return found


def long_oid(size: int) -> bytes:
    """An OBJECT IDENTIFIER whose last arc is a huge number. Nobody has to read one of more than a hundred digits
    (RFC 5280, appendix B), so it may be malformed wherever it stands.
    """
    return tlv(0x06, b"\x2a" + b"\xff" * (size - 2) + b"\x7f")


MALFORMED = "malformed_request"

# What is sent, and what comes back. None of it is good, where anything is said about a certificate at all.
WITHIN_THE_CAP: dict[str, tuple[Callable[[Subject], bytes], str]] = {
    "indefinite-sequences": (lambda _: b"\x30\x80" * (CAP // 2), MALFORMED),
    "definite-sequences": (lambda _: nested(0x30, CAP), MALFORMED),
    "definite-context-tags": (lambda _: nested(0xA0, CAP), MALFORMED),
    "nested-sets": (lambda _: nested(0x31, CAP), MALFORMED),
    "deep-requestor-name": (
        lambda asked: request(asked.cert_id(), requestor_name=tlv(0xA4, nested(0x30, ROOM))),
        MALFORMED,
    ),
    "deep-hash-parameters": (
        lambda asked: request(
            tlv(0x30, tlv(0x30, b"\x06\x05\x2b\x0e\x03\x02\x1a", nested(0x30, ROOM)), asked.cert_id()[13:])
        ),
        MALFORMED,
    ),
    "deep-locator": (
        lambda asked: request(asked.cert_id(), single_extensions=[extension(LOCATOR, nested(0x30, ROOM))]),
        MALFORMED,
    ),
    "deep-certificate": (
        lambda asked: signed_request(tbs_request(asked.cert_id()), tlv(0x30, ECDSA_SHA256), b"s", [nested(0x30, ROOM)]),
        MALFORMED,
    ),
    "set-of-thousands-out-of-order": (
        lambda asked: request(
            asked.cert_id(),
            requestor_name=tlv(0xA4, tlv(0x30, tlv(0x31, many(b"\x02\x01\x01", ROOM - 99), b"\x02\x01\x00"))),
        ),
        MALFORMED,
    ),
    "huge-version": (
        lambda asked: request(asked.cert_id(), version=tlv(0x02, b"\x01" + bytes(ROOM))),
        MALFORMED,
    ),
    "tag-number-of-thousands-of-octets": (lambda _: b"\x3f" + b"\xff" * (CAP - 2) + b"\x00", MALFORMED),
    "length-of-thousands-of-octets": (lambda _: b"\x30\xfe" + b"\x01" * (CAP - 2), MALFORMED),
    "empty-requests": (lambda _: tlv(0x30, tlv(0x30, tlv(0x30, many(b"\x30\x00")))), MALFORMED),
    "hundreds-of-requests": (lambda asked: request(*[asked.cert_id(n) for n in range(1, 400)]), MALFORMED),
    "empty-extensions": (lambda asked: request(asked.cert_id(), extensions=[many(b"\x30\x00")]), MALFORMED),
    "one-extension-thousands-of-times": (
        lambda asked: request(asked.cert_id(), extensions=[many(extension(PRIVATE, b""))]),
        MALFORMED,
    ),
    "a-critical-one-after-a-thousand-others": (
        lambda asked: request(
            asked.cert_id(), extensions=[*numbered_extensions(), extension(PRIVATE, b"", critical=True)]
        ),
        MALFORMED,
    ),
    "huge-nonce": (lambda asked: request(asked.cert_id(), extensions=[nonce(bytes(ROOM))]), MALFORMED),
    "huge-critical-oid": (
        lambda asked: request(asked.cert_id(), extensions=[tlv(0x30, long_oid(ROOM), b"\x01\x01\xff\x04\x00")]),
        MALFORMED,
    ),
    "huge-hash-oid": (
        lambda asked: request(tlv(0x30, tlv(0x30, long_oid(ROOM)), asked.cert_id()[13:])),
        MALFORMED,
    ),
    "huge-hashes": (
        lambda asked: request(
            tlv(0x30, asked.cert_id()[2:13], tlv(0x04, bytes(ROOM // 2)), tlv(0x04, bytes(ROOM // 2)), b"\x02\x01\x01")
        ),
        "unauthorized",
    ),
    "huge-serial": (lambda asked: request(asked.cert_id(1 << 8 * ROOM)), "unknown"),
    "huge-negative-serial": (lambda asked: request(asked.cert_id(-1 << 8 * ROOM)), "unknown"),
    "thousands-of-extensions": (lambda asked: request(asked.cert_id(), extensions=numbered_extensions()), "good"),
    "thousands-of-preferences": (
        lambda asked: request(
            asked.cert_id(), extensions=[extension(PREFERRED, tlv(0x30, many(tlv(0x30, tlv(0x30, b"\x06\x01\x2a")))))]
        ),
        "good",
    ),
    "thousands-of-certificates": (
        lambda asked: signed_request(tbs_request(asked.cert_id()), tlv(0x30, ECDSA_SHA256), b"s", [many(b"\x30\x00")]),
        "good",
    ),
    "huge-signature": (
        lambda asked: signed_request(tbs_request(asked.cert_id()), tlv(0x30, ECDSA_SHA256), bytes(ROOM), None),
        "good",
    ),
    "huge-unknown-extension": (
        lambda asked: request(asked.cert_id(), extensions=[extension(PRIVATE, b"\x30\x80" * (ROOM // 2))]),
        "good",
    ),
    "huge-unknown-oid": (
        lambda asked: request(asked.cert_id(), extensions=[tlv(0x30, long_oid(ROOM), b"\x04\x00")]),
        MALFORMED,
    ),
}

HUNDRED_THOUSAND = 100_000
BEYOND_THE_CAP: dict[str, Callable[[Subject], bytes]] = {
    "a-megabyte-of-indefinite-sequences": lambda _: b"\x30\x80" * (512 * 1024),
    "a-hundred-thousand-empty-requests": lambda _: tlv(0x30, tlv(0x30, tlv(0x30, b"\x30\x00" * HUNDRED_THOUSAND))),
    "a-hundred-thousand-requests": lambda asked: request(*[asked.cert_id()] * HUNDRED_THOUSAND),
    "a-hundred-thousand-extensions": lambda asked: request(
        asked.cert_id(), extensions=[extension(PRIVATE, b"")] * HUNDRED_THOUSAND
    ),
    "a-serial-of-a-megabyte": lambda asked: request(asked.cert_id(1 << 8 * 1024 * 1024)),
    "one-octet-too-many": lambda asked: request(asked.cert_id()).ljust(CAP + 1, b"\x00"),
}


def timed(ask: Callable[[], Reply]) -> Reply:
    """The reply, which must not take long."""
    begin = time.monotonic()
    reply = ask()
    assert time.monotonic() - begin < WITHIN
    return reply


@pytest.mark.rule("R25")
@pytest.mark.parametrize("name", WITHIN_THE_CAP)
def test_the_worst_that_fits_into_a_request(gateway: Gateway, subject: Subject, name: str) -> None:
    """It is read to the end, and refused, or answered where nothing is wrong with it but its size."""
    make, expected = WITHIN_THE_CAP[name]
    body = make(subject)
    assert CAP / 2 < len(body) <= CAP
    reply = timed(lambda: gateway.post(body))
    status = reply.ocsp_status
    assert (subject.verified(reply).status if status == "successful" else status) == expected


@pytest.mark.rule("R11", "R25")
@pytest.mark.parametrize("name", BEYOND_THE_CAP)
def test_what_does_not_fit_is_not_even_read(gateway: Gateway, subject: Subject, name: str) -> None:
    """It is HTTP 413 or malformed, if there is an end of it soon enough to tell, and the gateway goes on."""
    body = BEYOND_THE_CAP[name](subject)
    assert len(body) > CAP
    try:
        reply = timed(lambda: gateway.post(body))
    except ConnectionError:
        pass  # it has said so, and will not wait for megabytes that nobody reads
    else:
        assert reply.status == 413 or reply.ocsp_status == MALFORMED
    assert subject.verified(gateway.post(request(subject.cert_id()))).status == "good"


@pytest.mark.rule("R25")
@pytest.mark.parametrize("tag", [b"\x30\x80", b"\x30\x82", b"\xa0\x84"], ids=bytes.hex)
def test_nesting_in_a_get(gateway: Gateway, tag: bytes) -> None:
    """By GET there is less room, and the same end."""
    assert timed(lambda: gateway.get(tag * 1500)).ocsp_status == MALFORMED


@pytest.mark.rule("R25", "R88")
def test_others_are_answered_meanwhile(gateway: Gateway, subject: Subject) -> None:
    """While the worst comes again and again, everybody else gets an answer, and memory stays where it was."""
    assert gateway.process is not None
    worst = [make(subject) for make, _ in WITHIN_THE_CAP.values()]
    worst.append(BEYOND_THE_CAP["a-megabyte-of-indefinite-sequences"](subject))
    for body in worst:
        gateway.post(body)  # once, so that what is measured is growth and not the first touch
    before = resident(gateway.process.pid)
    end = threading.Event()
    replies: list[str] = []

    def ask_as_others_do() -> None:
        while not end.is_set() or not replies:
            replies.append(timed(lambda: gateway.post(request(subject.cert_id()))).answer.status)

    other = threading.Thread(target=ask_as_others_do)
    other.start()
    try:
        for body in worst * 10:
            timed(lambda body=body: gateway.post(body))  # type: ignore[misc]
    finally:
        end.set()
        other.join()
    assert set(replies) == {"good"}
    assert resident(gateway.process.pid) - before < MEMORY


def resident(pid: int) -> int:
    """KiB of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
