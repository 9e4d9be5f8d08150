"""`goodstanding ca` on a running system: nothing is restarted, and every authority answers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from goodstanding.ca.v1.ca_pb2 import IssueCertificateRequest
from services.clock import utc_now
from services.pki.hierarchy import make_issuing, make_root, renew
from services.pki.issuers import Issuer
from services.pki.keys import encrypt_key, generate_key, plain_key
from tests.ca.world import make_csr
from tests.e2e.client import services
from tests.e2e.system import System
from tests.pki.test_hierarchy import with_extensions
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose hierarchy these tests change, each with authorities of its own.

    In the end, nothing was restarted, and no log holds a passphrase or anything of a private key.
    """
    system = System(tmp_path_factory.mktemp("grown")).start()
    before = {service: system.processes_of(service) for service in ("ca", "status", "gateway")}
    yield system
    assert {service: system.processes_of(service) for service in before} == before, "something was restarted"
    assert system.stop() == 0
    logs = (system.folder / "data.stderr").read_text()
    assert "PRIVATE KEY" not in logs
    for file in (system.data / "secrets").glob("*.passphrase"):
        assert file.read_text().strip() not in logs


def ca(system: System, *arguments: str) -> dict[str, Any]:
    """Run `goodstanding ca …`, and return its JSON."""
    found: dict[str, Any] = json.loads(system.run("goodstanding", "ca", *arguments, "--yes", "--json").stdout)
    assert found["done"]
    return found


def states(system: System) -> dict[str, str]:
    """The issuers and their states."""
    found = json.loads(system.run("goodstanding", "ca", "list", "--json").stdout)
    return {issuer["name"]: issuer["state"] for issuer in found["issuers"]}


def verify(system: System, leaf: Path, name: str = "issuing", chain: str | None = None) -> None:
    """`openssl verify -x509_strict` accepts a leaf below an authority, with the root alone trusted."""
    at = system.data / "ca"
    untrusted = at / (chain or f"{name}.pem")
    strict = ("-x509_strict", "-purpose", "sslserver", "-CAfile", str(at / "root.pem"), "-untrusted", str(untrusted))
    assert system.run("openssl", "verify", *strict, str(leaf)).stdout == f"{leaf}: OK\n"


def answered(system: System, name: str, leaf: Path, word: str = ": good") -> str:
    """The answer about a leaf, which verifies below the authority of that name: soon, if not at once."""
    at = system.data / "ca"
    said = [""]
    chain = ("-CAfile", str(at / "root.pem"), "-issuer", str(at / f"{name}.pem"))

    def ask() -> bool:
        chained = ("-verify_other", str(at / f"{name}.pem"))
        done = system.run(
            "openssl", "ocsp", *chain, *chained, "-cert", str(leaf), "-url", system.url, "-resp_text", check=False
        )
        said[0] = done.stdout + done.stderr
        return word in said[0]

    wait_until(ask, within=10)
    return said[0]


@contextmanager
def issuing_all_the_while(system: System) -> Iterator[tuple[list[str], list[str]]]:
    """Two callers issue one certificate after the other without naming an issuer, and every one of them succeeds.

    Yields who issued, by caller.
    """
    issuers: tuple[list[str], list[str]] = ([], [])
    done = threading.Event()

    def issue(by: list[str]) -> None:
        with services(system) as stubs:
            request = IssueCertificateRequest(csr_der=make_csr(), profile="server")
            while not done.is_set():
                by.append(stubs.ca.IssueCertificate(request, timeout=10).certificate.issuer)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(issue, by) for by in issuers]
        try:
            wait_until(lambda: all(issuers), within=10)
            yield issuers
        finally:
            done.set()
        for each in running:
            each.result()


def test_the_plan_comes_first(grown: System) -> None:
    """Without terminal and --yes nothing happens; --dry-run shows the plan, also as JSON."""
    before = states(grown)
    words = ("ca", "create-intermediate", "--parent", "root", "--name", "fleet")
    refused = grown.run("goodstanding", *words, check=False)
    assert (refused.returncode, "--yes" in refused.stderr) == (1, True)
    assert "open the key of root" in refused.stdout
    assert json.loads(grown.run("goodstanding", *words, "--dry-run", "--json").stdout)["done"] is False
    shown = grown.run("goodstanding", *words, "--dry-run").stdout
    assert "Note: fleet, issuing are active then: `goodstanding issue` needs --issuer" in shown
    assert states(grown) == before
    assert not (grown.data / "ca/fleet.key").exists()


def test_a_renewal_keeps_the_key(grown: System) -> None:
    """What was issued before verifies with either certificate; so does what is issued afterwards."""
    at = grown.data / "ca"
    old = grown.issue("before-renewal.example.com")
    verify(grown, old)
    (at / "old.pem").write_bytes((at / "issuing.pem").read_bytes())
    done = ca(grown, "renew", "issuing")
    assert len(done["issuer"]["certificates"]) == 2
    listed = [row for row in grown.run("goodstanding", "ca", "list").stdout.splitlines() if row.startswith("issuing ")]
    serial = done["issuer"]["certificates"][0]["serial_number"]
    assert [f"{serial} (preferred)" in row for row in listed] == [True, False], listed
    new = grown.issue("after-renewal.example.com")
    for leaf in (old, new):
        for name in ("issuing", "old"):
            verify(grown, leaf, name)
            answered(grown, name, leaf)
    first, second = (x509.load_pem_x509_certificate((at / f"{name}.pem").read_bytes()) for name in ("old", "issuing"))
    assert (first.public_key(), first.subject) == (second.public_key(), second.subject)
    assert first.serial_number != second.serial_number


def test_a_roll_over(grown: System) -> None:
    """The new key issues and answers without a restart, the old one answers on, and `issue` needs no --issuer."""
    old = grown.issue("before-roll-over.example.com")
    with issuing_all_the_while(grown) as issuers:
        ca(grown, "rollover", "issuing", "--new-name", "issuing-2")
        wait_until(lambda: all(by[-1] == "issuing-2" for by in issuers), within=10)
    assert all(by == sorted(by) for by in issuers), "one takes over from the other, once"
    new = grown.issue("after-roll-over.example.com")
    answered(grown, "issuing-2", new)
    assert states(grown) | {"root": "offline", "issuing": "retired", "issuing-2": "active"} == states(grown)
    verify(grown, old, "issuing")
    verify(grown, new, "issuing-2")
    answered(grown, "issuing", old)
    refused = grown.run("goodstanding", "issue", "--issuer", "issuing", "x.csr", check=False)
    assert refused.returncode != 0
    grown.run("goodstanding", "revoke", "--cert", str(old), "--reason", "superseded")
    answered(grown, "issuing", old, ": revoked")


def test_plans_that_could_not_be_carried_out(grown: System) -> None:
    """They are refused before a plan is shown, and so is a renewal that would end before what it renews."""
    active = next(name for name, state in states(grown).items() if state == "active")
    for words, why in (
        (("create-intermediate", "--parent", active, "--name", "below"), "path length"),
        (("create-intermediate", "--parent", "root", "--name", "same", "--subject", "CN=goodstanding root CA"), "name"),
        (("renew", active, "--days", "1"), "name more --days"),
        (("retire", active, "--offline"), "retire it first"),
        (("import", "--cert", str(grown.issue("leaf.example.com"))), "not a certificate of a CA"),
    ):
        refused = grown.run("goodstanding", "ca", *words, "--dry-run", check=False)
        assert (refused.returncode, refused.stdout, why in refused.stderr) == (1, "", True), refused.stderr
    cut = ("create-intermediate", "--parent", "root", "--name", "long", "--days", "36500", "--dry-run")
    assert "when root ends, path length 0" in grown.run("goodstanding", "ca", *cut).stdout


def test_a_compromised_ca(grown: System) -> None:
    """It gets no other certificate, issues nothing and signs no CA, which is said before any plan; lists mark it."""
    ca(grown, "create-intermediate", "--parent", "root", "--name", "leaked", "--path-length", "1")
    ca(grown, "create-intermediate", "--parent", "leaked", "--name", "below-leaked")
    grown.run("goodstanding", "revoke", "--cert", str(grown.data / "ca/leaked.pem"), "--reason", "keyCompromise")
    for words in (
        ("renew", "leaked"),
        ("renew", "below-leaked"),
        ("activate", "below-leaked"),
        ("create-intermediate", "--parent", "leaked", "--name", "another"),
        ("import", "--cert", str(grown.data / "ca/leaked.pem"), "--key", str(grown.data / "ca/leaked.key")),
    ):
        refused = grown.run("goodstanding", "ca", *words, "--yes", check=False)
        told = (refused.returncode, refused.stdout, "ISSUER_COMPROMISED" in refused.stderr)
        assert told == (1, "", True), (words, refused.stderr)
    listed = grown.run("goodstanding", "ca", "list").stdout
    assert re.search(r"^leaked +offline, compromised +root ", listed, re.MULTILINE)
    ca(grown, "crl", "leaked")
    ca(grown, "retire", "below-leaked")


def test_certificates_of_a_compromised_ca(grown: System) -> None:
    """They are valid in themselves, and lists and `get` say what became of their issuer; `ca activate` refuses it."""
    ca(grown, "create-intermediate", "--parent", "root", "--name", "gone")
    csr = grown.folder / "of-gone.csr"
    csr.write_bytes(make_csr("of-gone.example.com"))
    issued = grown.run("goodstanding", "issue", str(csr), "--issuer", "gone", "--json").stdout
    serial = json.loads(issued)["serial_number"]
    for compromised in (False, True):
        if compromised:
            grown.run("goodstanding", "revoke", "--cert", str(grown.data / "ca/gone.pem"), "--reason", "keyCompromise")
        words = "valid, issuer compromised" if compromised else "valid"
        got = grown.run("goodstanding", "get", serial).stdout
        assert re.search(rf"^State +{words}$", got, re.MULTILINE)
        rows = grown.run(
            "goodstanding", "list", "--issuer", "gone", "--name", "of-gone.example.com"
        ).stdout.splitlines()
        assert re.match(rf"{serial} +{words}  ", rows[1])
        for more in (("get", serial), ("list", "--serial-prefix", serial)):
            told = json.loads(grown.run("goodstanding", *more, "--json").stdout)
            told = told.get("certificates", [told])[0]
            assert (told["state"], told["issuer_compromised"]) == ("valid", compromised)
    refused = grown.run("goodstanding", "ca", "activate", "gone", "--yes", check=False)
    assert (refused.returncode, "ISSUER_COMPROMISED" in refused.stderr) == (1, True)
    ca(grown, "retire", "gone")


def test_keys_that_are_none(grown: System) -> None:
    """A dry run opens the keys that the plan would: what is no key, another's or closed is told before the plan."""
    (grown.folder / "note.txt").write_text("no key\n")
    (grown.folder / "wrong.pass").write_text("wrong\n")
    (grown.folder / "other.key").write_bytes(plain_key(generate_key()))
    create = ("create-intermediate", "--parent", "root", "--name", "another")
    for words in (create, ("renew", "issuing"), ("crl", "root")):
        option = "--key" if words[0] == "crl" else "--parent-key"
        for more in ((option, "note.txt"), (option, "other.key"), ("--passphrase-file", "wrong.pass")):
            refused = grown.run("goodstanding", "ca", *words, *more, "--dry-run", check=False)
            assert (refused.returncode, refused.stdout) == (1, ""), (words, more)
    key = grown.data / "ca/root.key"
    key.rename(key.with_suffix(".away"))
    for words, option in ((create, "--parent-key"), (("crl", "root"), "--key")):
        refused = grown.run("goodstanding", "ca", *words, "--dry-run", check=False)
        assert f"or name its file with {option}" in refused.stderr
    key.with_suffix(".away").rename(key)
    weak_key = rsa.generate_private_key(65537, 1024)
    weak = make_root(name="Weak", key=weak_key, now=utc_now())
    (grown.folder / "weak.pem").write_bytes(weak.public_bytes(Encoding.PEM))
    refused = grown.run("goodstanding", "ca", "import", "--cert", "weak.pem", "--dry-run", check=False)
    assert (refused.returncode, refused.stdout, "KEY_TOO_SMALL" in refused.stderr) == (1, "", True)


def test_below_a_ca_on_hold(grown: System) -> None:
    """Nothing that would issue nothing is planned there, until the hold is released."""
    ca(grown, "create-intermediate", "--parent", "root", "--name", "held", "--path-length", "1")
    ca(grown, "create-intermediate", "--parent", "held", "--name", "below-held")
    revoke = ("goodstanding", "revoke", "--cert", str(grown.data / "ca/held.pem"), "--reason")
    plans = (
        ("create-intermediate", "--parent", "held", "--name", "more-below"),
        ("renew", "below-held"),
        ("activate", "below-held"),
    )
    for reason, planned in (("certificateHold", False), ("removeFromCRL", True)):
        grown.run(*revoke, reason)
        for words in plans:
            done = grown.run("goodstanding", "ca", *words, "--dry-run", check=False)
            assert (done.returncode == 0, bool(done.stdout)) == (planned, planned), (words, done.stderr)
            assert ("ISSUER_REVOKED" in done.stderr) is not planned
    ca(grown, "retire", "below-held")


def test_a_ca_whose_key_is_blocked(grown: System) -> None:
    """It comes in to answer for what it issued, and not to issue; the plan is not shown."""
    key = generate_key()
    made = make_root(name="Known to others", key=key, now=utc_now())
    (grown.folder / "known.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (grown.folder / "known.key").write_bytes(plain_key(key))
    grown.run("goodstanding", "keys", "block", "--cert", "known.pem")
    words = ("goodstanding", "ca", "import", "--cert", "known.pem", "--key", "known.key", "--name", "known")
    for more in ("--dry-run", "--yes"):
        refused = grown.run(*words, more, check=False)
        assert (refused.returncode, refused.stdout, "KEY_BLOCKED" in refused.stderr) == (1, "", True)
    assert "issuer known is retired" in grown.run(*words, "--retired", "--yes").stdout
    refused = grown.run("goodstanding", "ca", "activate", "known", "--dry-run", check=False)
    assert (refused.returncode, refused.stdout, "KEY_BLOCKED" in refused.stderr) == (1, "", True)


def test_the_list_of_the_root(grown: System) -> None:
    """A new one has the CA certificate that was revoked, and the next number; the gateway serves it."""
    ca(grown, "create-intermediate", "--parent", "root", "--name", "doomed", "--path-length", "1")
    made = x509.load_pem_x509_certificate((grown.data / "ca/doomed.pem").read_bytes())
    grown.run("goodstanding", "revoke", "--cert", str(grown.data / "ca/doomed.pem"), "--reason", "superseded")
    assert ca(grown, "crl", "root")["number"] == 2

    def listed() -> bool:
        done = grown.run("curl", "-sf", f"{grown.url}/crl/root.crl", "-o", "root.crl", check=False)
        if done.returncode:
            return False
        crl = x509.load_der_x509_crl((grown.folder / "root.crl").read_bytes())
        return crl.get_revoked_certificate_by_serial_number(made.serial_number) is not None

    wait_until(listed, within=10)


def test_an_existing_ca_comes_in(grown: System) -> None:
    """Chain, certificate and encrypted key from elsewhere; a second time changes nothing; it issues and answers.

    What takes its place may not issue for more than it might.
    """
    folder, now = grown.folder, utc_now()
    root_key, key = generate_key("p384"), generate_key("rsa2048")
    root = make_root(name="Elsewhere root", key=root_key, now=now)
    limits = x509.NameConstraints([x509.DNSName("example")], None)
    made = make_issuing(root=root, root_key=root_key, name="Elsewhere issuing", key=key, now=now)
    issuing = with_extensions(made, root_key, (limits, True))
    (folder / "elsewhere-root.key").write_bytes(encrypt_key(root_key, b"secret"))
    (folder / "elsewhere.pem").write_bytes(issuing.public_bytes(Encoding.PEM))
    (folder / "elsewhere-root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "elsewhere.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))
    )
    (folder / "elsewhere.pass").write_text("secret\n")
    (folder / "wrong.key").write_bytes(encrypt_key(generate_key(), b"secret"))
    shorter = renew(issuing, Issuer(root, root_key), now=now, validity=timedelta(days=2))
    (folder / "shorter.pem").write_bytes(shorter.public_bytes(Encoding.PEM))
    bound_key = generate_key()
    bound = make_issuing(root=root, root_key=root_key, name="Bound", key=bound_key, now=now, path_length=1)
    subjects = x509.DirectoryName(x509.Name.from_rfc4514_string("O=Elsewhere"))
    bound = with_extensions(bound, root_key, (x509.NameConstraints([subjects], None), True))
    (folder / "bound.pem").write_bytes(bound.public_bytes(Encoding.PEM))
    (folder / "bound.key").write_bytes(plain_key(bound_key))
    words = ("import", "--cert", "elsewhere.pem", "--passphrase-file", "elsewhere.pass", "--name", "elsewhere")
    chain = ("--chain", "elsewhere-root.pem")
    for more, why in (
        (("--key", "elsewhere.key"), "--chain"),
        (("--key", "wrong.key", *chain), "is not the key of the certificate"),
    ):
        refused = grown.run("goodstanding", "ca", *words, *more, "--yes", check=False)
        assert (refused.returncode, why in refused.stderr) == (1, True), refused.stderr
    assert "elsewhere" not in states(grown)
    first = ca(grown, *words, "--key", "elsewhere.key", *chain)
    assert len(first["plan"]) == 4
    assert any("goodstanding import" in note for note in first["notes"])
    assert ca(grown, *words, "--key", "elsewhere.key", *chain)["plan"] == [
        "nothing: issuer elsewhere is known already, with this certificate"
    ]
    assert states(grown) | {"elsewhere": "active", "elsewhere-root": "offline"} == states(grown)
    assert ca(grown, "import", "--cert", "bound.pem", "--name", "bound")["notes"] == []
    plan = grown.run("goodstanding", "ca", "import", "--cert", "shorter.pem", "--dry-run").stdout
    assert f"Note: it ends on {shorter.not_valid_after_utc:%Y-%m-%d}, and the one that is preferred so far" in plan
    request = ("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "e.key", "-subj", "/CN=e.example")
    grown.run(*request, "-out", "e.csr")
    grown.run("goodstanding", "issue", "e.csr", "--issuer", "elsewhere", "--out", "e.pem")
    trust = ("-CAfile", "elsewhere-root.pem")
    said = grown.run("openssl", "verify", "-x509_strict", *trust, "-untrusted", "elsewhere.pem", "e.pem").stdout
    assert said == "e.pem: OK\n"
    (grown.data / "ca/elsewhere-above.pem").write_bytes((folder / "elsewhere-root.pem").read_bytes())

    def good() -> bool:
        asked = ("-issuer", "elsewhere.pem", "-cert", "e.pem", "-url", grown.url, "-verify_other", "elsewhere.pem")
        return "e.pem: good" in grown.run("openssl", "ocsp", *trust, *asked, check=False).stdout

    wait_until(good, within=10)
    ca(grown, "import", "--cert", "shorter.pem")
    for subject, allowed in (("CN=Here,O=Elsewhere", True), ("CN=Here,O=Nowhere", False)):
        words = ("create-intermediate", "--parent", "bound", "--parent-key", "bound.key", "--name", "here")
        done = grown.run("goodstanding", "ca", *words, "--subject", subject, "--dry-run", check=False)
        assert (done.returncode == 0, "name constraints" in done.stderr) == (allowed, not allowed), done.stderr
    above = ("--parent-key", "elsewhere-root.key", "--passphrase-file", "elsewhere.pass")
    plan = grown.run("goodstanding", "ca", "renew", "elsewhere", *above, "--dry-run").stdout
    assert re.search(r"valid until \S+, as long as its longest one \(\d{4} days\)", plan), plan
    ca(grown, "retire", "elsewhere")
    assert states(grown)["elsewhere"] == "retired"
    ca(grown, "activate", "elsewhere")
    assert states(grown)["elsewhere"] == "active"
    rolled = ca(grown, "rollover", "elsewhere", "--new-name", "elsewhere-2", *above)
    assert any("path length 0, and as before nameConstraints" in line for line in rolled["plan"])
    new = x509.load_pem_x509_certificate((grown.data / "ca/elsewhere-2.pem").read_bytes())
    assert new.extensions.get_extension_for_class(x509.NameConstraints).value == limits
    ca(grown, "retire", "elsewhere-2")


def fetched(system: System, name: str) -> bool:
    """Whether a revocation list is there; it is in a file of its name then."""
    return system.run("curl", "-sfO", f"{system.url}/crl/{name}", check=False).returncode == 0


def test_three_tiers(grown: System) -> None:
    """A root of its own, a CA for CAs below it, and an issuing CA below that one: the path verifies."""
    ca(grown, "create-root", "--name", "other-root", "--subject", "CN=Other root,O=Example,C=NL", "--days", "3650")
    below = ("--parent", "other-root", "--name", "policy", "--path-length", "1", "--key-type", "p-384")
    ca(grown, "create-intermediate", *below)
    ca(grown, "create-intermediate", "--parent", "policy", "--name", "plant", "--key-type", "rsa-2048")
    assert states(grown) | {"other-root": "offline", "policy": "offline", "plant": "active"} == states(grown)
    request = ("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "p.key", "-subj", "/CN=p.example")
    grown.run(*request, "-out", "p.csr")
    grown.run("goodstanding", "issue", "p.csr", "--issuer", "plant", "--out", "p.pem")
    at = grown.data / "ca"
    said = grown.run(
        "openssl", "verify", "-x509_strict", "-CAfile", str(at / "other-root.pem"), "-untrusted",
        str(at / "plant-chain.pem"), "p.pem",
    )  # fmt: skip
    assert said.stdout == "p.pem: OK\n"
    lists = [f"{name}.crl" for name in ("other-root", "policy", "plant")]  # those of offline CAs were made with them
    for name in lists:
        wait_until(partial(fetched, grown, name), within=10)
        grown.run("openssl", "crl", "-inform", "DER", "-in", name, "-out", f"{name}.pem")
    (grown.folder / "lists.pem").write_text("".join((grown.folder / f"{name}.pem").read_text() for name in lists))
    said = grown.run(
        "openssl", "verify", "-x509_strict", "-crl_check_all", "-CAfile", str(at / "other-root.pem"),
        "-CRLfile", "lists.pem", "-untrusted", str(at / "plant-chain.pem"), "p.pem",
    )  # fmt: skip
    assert said.stdout == "p.pem: OK\n"
    refused = grown.run(
        "goodstanding", "ca", "create-intermediate", "--parent", "plant", "--name", "too-deep", "--yes", check=False
    )
    assert refused.returncode == 1
    assert "path length" in refused.stderr
    assert not (at / "too-deep.key").exists()
    ca(grown, "retire", "plant")


def test_the_ca_of_somebody_else(grown: System) -> None:
    """An offline CA for CAs gets its key back, is known by its own name, and signs a request with `intermediate`."""
    ca(grown, "create-intermediate", "--parent", "root", "--name", "partners", "--path-length", "1")
    at = grown.data / "ca"
    request = ("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "t.key", "-subj", "/CN=Their CA")
    grown.run(*request, "-out", "their-ca.csr")
    sign = ("goodstanding", "issue", "their-ca.csr", "--profile", "intermediate", "--issuer", "partners")
    refused = grown.run(*sign, check=False).stderr
    assert "issuer partners issues nothing here: it is offline" in refused
    assert "ca import --key" in refused
    before = (at / "partners.key").read_bytes()
    brought = ca(grown, "import", "--cert", str(at / "partners.pem"), "--key", str(at / "partners.key"))
    assert brought["plan"][0] == "give issuer partners, which is known, its key: it is active then"
    assert (at / "partners.key").read_bytes() == before
    grown.run(*sign, "--out", "their-ca.pem", "--chain")
    verify = ("openssl", "verify", "-x509_strict", "-CAfile", str(at / "root.pem"))
    assert grown.run(*verify, "-untrusted", "their-ca.pem", "their-ca.pem").stdout == "their-ca.pem: OK\n"
    ca(grown, "retire", "partners")
    refused = grown.run(*sign, check=False).stderr
    assert "issuer partners issues nothing here: it is retired" in refused


def test_names_that_are_none(grown: System) -> None:
    """They would be files elsewhere, or no part of an address."""
    for name in ("../outside", "a b", ""):
        words = ("ca", "create-root", "--name", name, "--yes")
        refused = grown.run("goodstanding", *words, check=False)
        assert (refused.returncode, "ISSUER_NAME_INVALID" in refused.stderr) == (1, True)
