"""Gateways for the tests of the doors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.limits import Limits
from tests.gateway.doors.harness import NOW, Gateway


@pytest.fixture(scope="session")
def certificate_der() -> bytes:
    """A CA certificate, valid around NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=Doors")
    start = datetime.fromtimestamp(int(NOW), UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=365))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def start_gateway(certificate_der: bytes) -> Iterator[Callable[..., Gateway]]:
    """Start gateways, given limits; they stop with the test."""
    with ExitStack() as stack:

        def start(prefixes: tuple[str, ...] = (), **limits: float) -> Gateway:
            return stack.enter_context(Gateway(certificate_der, Limits(**limits), prefixes))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="module")
def gateway(certificate_der: bytes) -> Iterator[Gateway]:
    """A gateway with default limits for the tests of one file: they only add answers of their own."""
    with Gateway(certificate_der, Limits(), ("/pki",)) as running:
        yield running
