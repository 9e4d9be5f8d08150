"""What a gateway waits for before it calls itself ready: signers for all that it is expected to answer for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from gateway.assembly import Gateway
from gateway.config import load
from tests.gateway.core.files import BEGIN, Authority, Files
from tests.gateway.core.world import NOW, issuer_of

pytestmark = pytest.mark.asyncio

CONFIG = """
[gateway]
ca = "127.0.0.1:1"
status = "127.0.0.1:1"
tls_ca = "tls.pem"
certificate = "tls.pem"
key = "tls.key"
signer_keys = ["p-256", "ml-dsa-44"]
[gateway.issuers.misspelt]
preset = "short"
[[gateway.issuers.offline.signers]]
certificate = "responder.pem"
key = "responder.key"
"""


@pytest.fixture
def offline() -> Authority:
    """The CA whose signer comes from files."""
    return Authority("offline")


@pytest_asyncio.fixture
async def gateway(tmp_path: Path, offline: Authority, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """A gateway whose services are away; it knows no issuer yet. Its clock stands still."""
    for module in ("assembly", "signing", "answering"):
        monkeypatch.setattr(f"gateway.{module}.wall_time", lambda: float(NOW))
    key = ec.generate_private_key(ec.SECP256R1())
    Files(tmp_path).write(offline.certify(key), key)
    tls = Authority("tls")
    (tmp_path / "tls.pem").write_bytes(tls.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "tls.key").write_bytes(tls.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "config.toml").write_text(CONFIG)
    gateway = Gateway(load(tmp_path / "config.toml"))
    yield gateway
    await gateway.close()


def hear_of(gateway: Gateway, **authorities: tuple[Authority, bool]) -> dict[str, object]:
    """The status service tells of these issuers and whether they are active; what the gateway is ready for then."""
    gateway.following.knowledge.issuers.replace(
        issuer_of(name, authority.certificate, active=active) for name, (authority, active) in authorities.items()
    )
    gateway.issuers_changed()
    return gateway.readiness()[1]


async def test_who_is_waited_for(gateway: Gateway, offline: Authority) -> None:
    """Active issuers and those with files; neither those that are offline nor those that have expired."""
    expired = Authority("expired")
    expired.certificate = expired.certify_itself(end=BEGIN)
    others = {"issuing": (Authority(), True), "root": (Authority("root"), False), "expired": (expired, True)}
    checks = hear_of(gateway, offline=(offline, False), **others)
    assert checks["signers"] == {"offline": True, "issuing": False}
    assert "problems" not in checks


async def test_files_that_are_no_good_for_the_issuer(gateway: Gateway) -> None:
    """The gateway is not ready, says why, and enrols nothing in their place (R65)."""
    checks = hear_of(gateway, offline=(Authority("offline"), True))
    assert checks["signers"] == {"offline": False}
    problems = checks["problems"]
    assert isinstance(problems, dict)
    assert "cannot speak for offline" in problems["offline"][0]
    assert gateway.signing.enrolment._tasks == {}


async def test_names_that_mean_nothing_are_told_once(gateway: Gateway, offline: Authority) -> None:
    """A name that no issuer has is probably misspelt, and its settings are for nobody."""
    with capture_logs() as logs:
        hear_of(gateway)
        assert logs == []
        for _ in range(2):
            hear_of(gateway, offline=(offline, False))
    assert [entry["issuer"] for entry in logs if entry["log_level"] == "warning"] == ["misspelt"]
