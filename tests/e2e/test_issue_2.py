"""What issue 2 promises and a stranger would try with real tools: watching with grpcurl, and what linters say."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

from tests.e2e.system import System

STATUS = "goodstanding.status.v1.CertificateStatusService"
LINT = Path(sys.executable).parent


def grpcurl(system: System, *arguments: str, messages: str) -> str:
    """Call with the admin's credential, and return what grpcurl prints."""
    tls = system.data / "tls"
    credential = ("-cacert", str(tls / "ca.pem"), "-cert", str(tls / "admin.pem"), "-key", str(tls / "admin.key"))
    done = system.run("grpcurl", "-max-time", "10", *credential, "-d", "@", *arguments, check=False, input=messages)
    return done.stdout + done.stderr


def test_grpcurl_can_watch(system: System) -> None:
    """A watcher that knows nothing is reset, and each ping is answered at that revision or a later one."""
    said = [{"start": {}}, {"ping": {"id": 1}}, {"ping": {"id": 2}}]
    output = grpcurl(
        system, system.status, f"{STATUS}/WatchCertificateStatus", messages="\n".join(map(json.dumps, said))
    )
    assert output.index('"reset"') < output.index('"pong"')
    revisions = [int(number) for number in re.findall(r'"revision": "(\d+)"', output)]
    assert revisions == sorted(revisions)
    assert '"id": "2"' in output


def test_a_watch_begins_with_start(system: System) -> None:
    """The refusal names the field, and grpcurl prints it."""
    output = grpcurl(system, system.status, f"{STATUS}/WatchCertificateStatus", messages='{"ping": {"id": 1}}')
    assert '"reason":"START_EXPECTED"' in output
    assert '"field":"start"' in output


def test_pkilint_finds_no_error(system: System) -> None:
    """In a leaf, its chain, the answer about it, and the list of the root."""
    leaf = system.issue("lint-issue-2.example.com")
    ca = system.data / "ca"
    answer, crl = system.folder / "lint-issue-2.ocsp", system.folder / "lint-issue-2.crl"
    system.ask("-cert", str(leaf), "-respout", str(answer))
    printed = grpcurl(system, system.status, f"{STATUS}/GetCertificateRevocationList", messages='{"issuer": "root"}')
    crl.write_bytes(base64.b64decode(json.loads(printed)["crl_der"]))
    for command in (
        ("lint_pkix_cert", "lint", str(leaf)),
        ("lint_pkix_cert", "lint", str(ca / "issuing.pem")),
        ("lint_pkix_cert", "lint", str(ca / "root.pem")),
        ("lint_pkix_signer_signee_cert_chain", "lint", str(ca / "issuing.pem"), str(leaf)),
        ("lint_ocsp_response", "lint", "--document-format", "DER", str(answer)),
        ("lint_crl", "lint", "-t", "CRL", "-p", "PKIX", "--document-format", "DER", str(crl)),
    ):
        done = system.run(str(LINT / command[0]), *command[1:], "-s", "WARNING", check=False)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", ""), command
