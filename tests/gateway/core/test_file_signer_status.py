"""Signers from files whose own certificates are revoked, or about to end (R64, R68)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from gateway.evidence import CertificateKey
from gateway.file_signers import FileSigners
from gateway.issuers import Issuer
from gateway.signer_status import DAY as SECONDS
from gateway.signers import Signers
from tests.gateway.core.files import BEGIN, DAY, Authority, Files
from tests.gateway.core.world import Clocks, StatusService, issuer_of


class World:
    """An issuer with a signer from files, and a status service that may know the signer's certificate."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority()
        self.files = Files(folder)
        self.clocks = Clocks()
        self.service = StatusService(self.clocks)
        self.signers = Signers(self.clocks.wall_time)
        self.issuer: Issuer = issuer_of("issuing", self.ca.certificate)
        self.certificate = self.write()
        self.from_files = FileSigners(
            self.signers,
            {"issuing": [self.files.paths]},
            self.clocks.wall_time,
            look_up=self.service.look_up,
        )
        self.from_files.follow([self.issuer])

    def write(self, days: int = 400) -> x509.Certificate:
        """Another pair for so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.ca.certify(key, nocheck=False, end=BEGIN + days * DAY)
        self.files.write(certificate, key)
        return certificate

    def key(self) -> CertificateKey:
        """What the status service knows the certificate as."""
        return CertificateKey("issuing", bytes.fromhex(f"{self.certificate.serial_number:040x}").lstrip(b"\0"))

    def signs(self) -> bool:
        """Whether anybody does."""
        return self.signers.ready_for("issuing")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The signer signs; the status service does not know its certificate."""
    return World(tmp_path)


@pytest.mark.asyncio
async def test_nothing_is_known_against_it(world: World) -> None:
    """A certificate that is unknown, good, or that cannot be asked about now, signs."""
    await world.from_files.refresh()
    world.service.issue(world.key())
    await world.from_files.refresh()
    assert world.service.calls == [[world.key()]] * 2
    world.service.away = True
    await world.from_files.refresh()
    assert world.signs()
    assert world.from_files.problems("issuing") == []


@pytest.mark.asyncio
async def test_a_revoked_pair_signs_no_more(world: World) -> None:
    """It is told once; another time stamp on the files or a service that is away changes nothing; a new pair does."""
    world.service.revoke(world.key())
    with capture_logs() as logs:
        await world.from_files.refresh()
        await world.from_files.refresh()
    assert not world.signs()
    assert [entry["log_level"] for entry in logs] == ["error"]
    problem = (
        f"{world.files.paths.certificate} is revoked since {BEGIN.isoformat()}: have another one issued by issuing"
    )
    assert world.from_files.problems("issuing") == [problem]
    world.service.away = True
    world.files.put(world.files.paths.certificate, world.files.paths.certificate.read_bytes())
    await world.from_files.refresh()
    assert not world.signs()
    world.write()
    await world.from_files.refresh()
    assert world.signs()
    assert world.from_files.problems("issuing") == []


@pytest.mark.asyncio
async def test_a_hold_ends(world: World) -> None:
    """What was released signs again, and nobody has to touch the files."""
    world.service.revoke(world.key(), reason=6)
    await world.from_files.refresh()
    assert not world.signs()
    world.service.issue(world.key())
    await world.from_files.refresh()
    assert world.signs()
    assert world.from_files.problems("issuing") == []


@pytest.mark.asyncio
async def test_who_speaks_for_a_compromised_issuer(world: World) -> None:
    """R51: all of its certificates are revoked, and somebody has to say so."""
    world.service.revoke(world.key())
    world.from_files.follow([replace(world.issuer, compromised=True)])
    await world.from_files.refresh()
    assert world.signs()


@pytest.mark.asyncio
async def test_another_issuer_while_it_is_asked(world: World) -> None:
    """What is found of a certificate of the one says nothing about the other."""
    world.service.revoke(world.key())
    other = Authority()

    def another() -> None:
        world.from_files.follow([issuer_of("issuing", other.certificate)])

    world.service.before_reply.append(another)
    await world.from_files.refresh()
    assert "cannot speak for issuing" in world.from_files.problems("issuing")[0]
    assert len(world.from_files.problems("issuing")) == 1


@pytest.mark.asyncio
async def test_the_issuer_itself_is_not_asked_about(world: World) -> None:
    """Its certificate is not one of its own: its number may be that of another."""
    world.files.write(world.ca.certificate, world.ca.key)
    await world.from_files.refresh()
    assert world.service.calls == []
    assert world.signs()


@pytest.mark.asyncio
async def test_an_end_is_told_in_time(world: World) -> None:
    """R68: thirty days before, seven, and one; each once, and `/readyz` has it from the first on."""
    told: list[int] = []
    with capture_logs() as logs:
        for days_left in (399, 31, 30, 29, 8, 7, 2, 1, 0):
            world.clocks.wall = (BEGIN + 400 * DAY).timestamp() - days_left * SECONDS - 1
            await world.from_files.refresh()
            told += [days_left for entry in logs if "ends soon" in entry["event"]]
            assert bool(world.from_files.endings("issuing")) == (days_left <= 29), days_left
            logs.clear()
    assert told == [29, 2, 0]


@pytest.mark.asyncio
async def test_another_pair_ends_the_notice(world: World) -> None:
    """Nothing is left to do then."""
    world.clocks.wall = (BEGIN + 390 * DAY).timestamp()
    await world.from_files.refresh()
    found = world.from_files.endings("issuing")
    assert found == [f"{world.files.paths.certificate} signs until {(BEGIN + 400 * DAY).isoformat()}"]
    world.write(days=800)
    await world.from_files.refresh()
    assert world.from_files.endings("issuing") == []


@pytest.mark.asyncio
async def test_short_lives_are_not_nagged_about(world: World) -> None:
    """A certificate for two days is made by a program: it is new when it ends soon."""
    world.write(days=2)
    with capture_logs() as logs:
        await world.from_files.refresh()
    assert not any("ends soon" in entry["event"] for entry in logs)
    assert world.from_files.endings("issuing") == []
