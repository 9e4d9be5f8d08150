"""Any bytes at all: a request or a DomainError, never anything else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import DomainError
from services.pki.csr import CertificateRequest, read_csr

from .conftest import key_of, make_csr

GOOD = [
    make_csr("a.example", [x509.DNSName("a.example"), x509.RFC822Name("a@b.test")]),
    make_csr("b.example", [x509.DirectoryName(x509.Name([]))], key_of("rsa2048")),
    make_csr("", [x509.UniformResourceIdentifier("urn:a:b")], key_of("ed25519")),
]


def read(der: bytes) -> None:
    """Read it both ways; whatever isn't a DomainError fails the test."""
    with suppress(DomainError):
        assert isinstance(read_csr(der=der), CertificateRequest)
    with suppress(DomainError):
        assert isinstance(read_csr(pem=der), CertificateRequest)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Random bytes are refused properly."""
    read(data)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255), st.sampled_from("seti")), min_size=1, max_size=4),
)
def test_damaged_requests(der: bytes, damages: list[tuple[int, int, str]]) -> None:
    """Good requests with bytes set, inserted and cut are refused properly, or still good."""
    data = bytearray(der)
    for place, value, how in damages:
        at = place % len(data)
        match how:
            case "s":
                data[at] = value
            case "e":
                data[at] ^= 1 << value % 8
            case "t":
                del data[at : at + 1 + value % 4]
            case _:
                data.insert(at, value)
    read(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Random text, surrogates included, is refused properly."""
    with pytest.raises(DomainError) as caught:
        read_csr(pem=f"-----BEGIN CERTIFICATE REQUEST-----{text}-----END CERTIFICATE REQUEST-----")
    assert caught.value.reason == "CSR_MALFORMED"
