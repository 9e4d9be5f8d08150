"""G5: responder certificates come from the real CA service, and are renewed at half life with a new key."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.channel import CredentialFiles, ServiceChannel
from gateway.enrolment import Enrolment, EnrolmentError, enrol
from gateway.issuers import Issuer
from gateway.ocsp.response import ResponseSigner
from gateway.signers import Signers
from tests.e2e.system import System
from tests.waiting import until

DAY = 86_400.0


def files(system: System, name: str) -> CredentialFiles:
    """A credential with the role responder, of its own: an identity may hold three live certificates."""
    folder = system.folder / name
    system.run("goodstanding", "credential", "new", "--name", name, "--role", "responder", "--out", str(folder))
    return CredentialFiles(system.data / "tls/ca.pem", folder / f"{name}.pem", folder / f"{name}.key")


def issuing(system: System, name: str = "issuing") -> Issuer:
    """The issuing CA, as the status service describes it."""
    certificate = x509.load_pem_x509_certificate((system.data / f"ca/{name}.pem").read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Issuer(
        "issuing", True, certificate.subject.public_bytes(), spki, (certificate.public_bytes(Encoding.DER),), 1
    )


@pytest.mark.asyncio
async def test_renewal_at_half_life(system: System) -> None:
    """Before half life nothing happens; at half life another key is certified, and signs from then on."""
    ahead = 0.0
    signers = Signers(lambda: time.time() + ahead)
    channel = ServiceChannel(system.ca, files(system, "renewal"))
    enrolment = Enrolment(signers, channel)

    def current() -> ResponseSigner | None:
        return signers.current("issuing")

    enrolment.follow([issuing(system)])
    await until(lambda: current() is not None)
    first = current()
    assert first is not None
    assert 1.4 * DAY < signers.seconds_until_renewal("issuing") < 1.5 * DAY
    await enrolment.close()

    ahead = 1.5 * DAY
    assert signers.ready_for("issuing")
    enrolment = Enrolment(signers, channel)
    enrolment.follow([issuing(system)])
    await until(lambda: current() is not first)
    second = current()
    assert second is not None
    assert second.key_hash != first.key_hash
    ahead = 4 * DAY
    assert not signers.ready_for("issuing")
    await enrolment.close()
    await channel.close()


@pytest.mark.asyncio
async def test_the_limit_of_live_delegates(system: System) -> None:
    """R66: one identity gets three live responder certificates of an issuer, and no fourth."""
    channel = ServiceChannel(system.ca, files(system, "collector"))
    signers = [await enrol(channel, issuing(system)) for _ in range(3)]
    assert len({signer.key_hash for signer in signers}) == 3
    with pytest.raises(EnrolmentError, match=grpc.StatusCode.RESOURCE_EXHAUSTED.name):
        await enrol(channel, issuing(system))
    await channel.close()


@pytest.mark.asyncio
async def test_a_certificate_of_another_key_is_refused(system: System, tmp_path: Path) -> None:
    """R65: what is not signed by the issuer's own key would be rejected by clients, and is not used."""
    stranger = tmp_path / "stranger.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(tmp_path / "key"))
    system.run("openssl", "req", "-x509", *key, "-subj", "/CN=stranger", "-out", str(stranger))
    certificate = x509.load_pem_x509_certificate(stranger.read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = certificate.public_bytes(Encoding.DER)
    issuer = Issuer("issuing", True, certificate.subject.public_bytes(), spki, (der,), 1)
    channel = ServiceChannel(system.ca, files(system, "confused"))
    with pytest.raises(EnrolmentError, match="cannot be used"):
        await enrol(channel, issuer)
    await channel.close()
