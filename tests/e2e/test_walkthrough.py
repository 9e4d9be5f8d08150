"""The README's walk-through, as printed, with the real openssl and grpcurl."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.system import System
from tests.pages import assert_in_order, script_of

README = Path(__file__).parents[2] / "README.md"


def walk_through(system: System) -> str:
    """The shell blocks of the walk-through, with the addresses of `system`."""
    text = README.read_text()
    part = text[text.index("<!-- walk-through") : text.index("<!-- end of the walk-through")]
    for printed in ("127.0.0.1:2560", "127.0.0.1:50051", "127.0.0.1:50052"):
        assert printed in part
    return script_of(part, system)


def test_the_walk_through_works_as_printed(system: System) -> None:
    """Issue, good, revoke, revoked, unknown; the same over grpcurl; and the rest of the command."""
    done = system.run("bash", "-euo", "pipefail", "-c", walk_through(system) + "\necho the end")
    expected = [
        rf"OCSP - URI:http://{system.http}",
        r"CA Issuers - URI:http",
        r"Responder Id: [0-9A-F]{40}",
        r"Cert Status: good",
        r"X509v3 Key Usage: critical\s+Digital Signature\n",
        r"X509v3 Extended Key Usage: \s+OCSP Signing\n",
        r"test.pem: good",
        r"Cert Status: revoked\s+Revocation Time: .*\s+Revocation Reason: keyCompromise",
        r"test.pem: revoked\s+This Update: .*\s+Next Update: .*\s+Reason: keyCompromise",
        r"0x1234: unknown",
        r"goodstanding.ca.v1.CertificateAuthorityService\n",
        r"rpc IssueCertificate",
        r'"status": "SERVING"',
        r'"status": "CERTIFICATE_STATUS_GOOD"',
        r'"reason": "REVOCATION_REASON_SUPERSEDED"',
        r'"status": "CERTIFICATE_STATUS_REVOKED"',
        r'"state": "CERTIFICATE_STATE_REVOKED"',
        r"revoked",
        r"the end",
    ]
    assert_in_order(done.stdout, expected)
    assert done.stderr.count("Response verify OK") == 3
    assert "WARNING" not in done.stderr
