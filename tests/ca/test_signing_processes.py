"""Signing processes: what they make is what the ca would have made, and whatever happens to them, no caller notices."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry, generate_latest

from services.ca import signing_line
from services.ca.authority import CertificateAuthority
from services.ca.hierarchy import ImportCommand
from services.ca.issue import MAX_QUICK
from services.ca.keystore import HeldKeys, load_keys
from services.ca.signing_figures import SigningFigures
from services.ca.signing_hand import Limits
from services.ca.signing_messages import Answer, Made, Ready, frame
from services.ca.writer import Writer
from services.config import CaSettings
from services.db.engine import Database
from services.db.records import IssuerState
from services.errors import DomainError
from services.pki.crls import make_crl
from services.pki.hierarchy import make_issuing, make_root
from services.pki.issuers import Issuer
from services.pki.keys import KeyKind, encrypt_key, generate_key
from services.pki.names import SubjectAlternativeNames
from services.pki.reasons import Reason
from services.pki.serials import serial_from_int
from tests.ca.crowd import AT_ONCE, CSR, SETTINGS, Crowd, make_crowd, make_setup, serials, signing_pids
from tests.ca.world import START, Ca, Hierarchy, chain_flaws, make_actor, make_ca, make_csr, with_id
from tests.waiting import wait_until

ODD = str(Path(__file__).with_name("odd_signing_process.py"))
ADMIN, ISSUER = make_actor("admin"), make_actor("issuer")


sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What has nothing to do with the database."""


@pytest.fixture
def crowd(ca: Ca, database_url: str, tmp_path: Path) -> Iterator[Crowd]:
    """A CA with a signing process that is about to be started."""
    crowd = make_crowd(ca, make_setup(ca, database_url, tmp_path))
    yield crowd
    crowd.pool.close()
    assert signing_pids() == []


def request(kind: KeyKind, *names: x509.GeneralName, subject: str = "") -> bytes:
    """A certificate request for a key of some kind."""
    key: Any = generate_key(kind)
    attributes = x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])
    builder = x509.CertificateSigningRequestBuilder(attributes)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = hashes.SHA256() if kind.startswith(("p", "rsa")) else None
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def commands() -> dict[str, dict[str, Any]]:
    """What is asked for, by what is special about it."""
    dns = x509.DNSName("a.example.com")
    names = SubjectAlternativeNames(dns=("x.example.com", "*.Example.com"), ip=("10.0.0.1", "::1"))
    more = SubjectAlternativeNames(email=("a@example.com",), uri=("spiffe://example.com/a",))
    pem = x509.load_der_x509_csr(CSR).public_bytes(Encoding.PEM)
    return {
        "plain": {"csr_der": CSR},
        "PEM": {"csr_pem": pem.decode()},
        "PEM in octets": {"csr_pem": pem},
        "issuer named": {"csr_der": CSR, "issuer": "issuing"},
        "RSA": {"csr_der": request("rsa2048", dns)},
        "P-384": {"csr_der": request("p384", dns)},
        "Ed25519": {"csr_der": request("ed25519", dns)},
        "ML-DSA": {"csr_der": request("mldsa44", dns)},
        "names given": {"csr_der": CSR, "names": names},
        "client": {"csr_der": CSR, "profile": "client", "names": more},
        "subject": {"csr_der": request("p256", dns, subject="CN=a.example.com,O=Nobody"), "profile": "client"},
        "short": {"csr_der": CSR, "profile": "server-short"},
        "validity": {"csr_der": CSR, "validity": timedelta(days=3, seconds=1)},
        "end": {"csr_der": CSR, "not_after": START + timedelta(days=2)},
        "no request": {},
        "garbage": {"csr_der": b"garbage"},
        "two things wrong": {"csr_der": CSR, "names": SubjectAlternativeNames(dns=("-",)), "validity": timedelta(9999)},
        "bad signature": {"csr_der": CSR[:-1] + bytes([CSR[-1] ^ 1])},
        "unknown issuer": {"csr_der": CSR, "issuer": "nobody"},
        "unknown profile": {"csr_der": CSR, "profile": "nothing"},
        "not for this role": {"csr_der": CSR, "profile": "ocsp-responder"},
        "offline issuer": {"csr_der": CSR, "issuer": "root"},
        "reserved name": {"csr_der": CSR, "names": SubjectAlternativeNames(dns=("a.goodstanding",))},
        "beyond the issuer": {"csr_der": CSR, "not_after": START + timedelta(days=36500)},
    }


def outcome(ca: Ca, command: dict[str, Any]) -> object:
    """Everything about what a command comes to but what differs between two of the same."""
    try:
        result = ca.issue(ISSUER, **{"csr_der": None} | command)
    except DomainError as error:
        return type(error), error.reason, error.message, error.violations, error.metadata
    record = replace(result.certificate, id=0, serial=b"", der=None, revision=0)
    leaf = x509.load_der_x509_certificate(result.certificate.der or b"")
    leaf.verify_directly_issued_by(ca.hierarchy.issuing)
    assert leaf.serial_number == int.from_bytes(result.certificate.serial)
    extensions = [(each.oid, each.critical, each.value) for each in leaf.extensions]
    times = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return record, result.chain_der, leaf.subject, leaf.public_key(), times, extensions


def test_the_same_comes_out(crowd: Crowd) -> None:
    """Every kind of key, name and profile, and every refusal, is what it is without a signing process."""
    table = commands()
    crowd.pool.close()
    expected = {name: outcome(crowd.ca, command) for name, command in table.items()}
    other = make_crowd(crowd.ca, crowd.pool._setup)
    try:
        other.start()
        for name, command in table.items():
            before = other.pool.tally.signed, other.pool.tally.returned
            found = outcome(crowd.ca, command)
            assert found == expected[name], name
            after = other.pool.tally.signed, other.pool.tally.returned
            refused = isinstance(found, tuple) and isinstance(found[0], type)
            # Of an issuer that has not signed yet, or is none, and of such a profile, nobody knows that it is quick.
            unasked = name.startswith(("unknown", "offline")) or len(command.get("csr_der") or b"") > MAX_QUICK
            expected_counts = (0, 0) if unasked else (0, 1) if refused else (1, 0)
            assert (after[0] - before[0], after[1] - before[1]) == expected_counts, name
    finally:
        other.pool.close()


def test_shards(database_url: str, ca: Ca, tmp_path: Path) -> None:
    """A certificate names the shard that the ca would have chosen; the ca adds shards that are missing (R112)."""
    settings = replace(SETTINGS, crl_distribution="sharded", crl_shards=3)
    sharded = make_ca(ca.db, ca.writer, ca.hierarchy, ca.clock, settings, register=False)
    crowd = make_crowd(sharded, make_setup(ca, database_url, tmp_path, settings))
    try:
        crowd.start()
        for future in crowd.begin(20):
            record = future.result(30).certificate
            leaf = x509.load_der_x509_certificate(record.der or b"")
            points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
            number = 1 + int.from_bytes(record.serial[-4:]) % 3
            (name,) = points[0].full_name or []
            assert name.value == f"http://ocsp.example.com/crl/issuing/{number}.crl"
            with ca.db.read() as conn:
                query = f"SELECT crl_shard FROM certificate_status WHERE certificate_id = {record.id}"
                assert conn.exec_driver_sql(query).scalar_one() == number
        assert crowd.pool.tally.signed == 20
    finally:
        crowd.pool.close()


def test_retries(crowd: Crowd) -> None:
    """One certificate for a request id, whoever made it first, and however many ask at once (G6)."""
    actor = with_id(ISSUER, "early")
    early = crowd.ca.issue(actor, csr_der=CSR)
    crowd.start()
    assert crowd.ca.issue(actor, csr_der=CSR) == early
    at_once = [crowd.begin(1, "same")[0] for _ in range(40)]
    assert len(set(serials(at_once))) == 1
    for request_id in ("early", "same-0"):
        with pytest.raises(DomainError, match="another request") as refused:
            crowd.ca.issue(with_id(ISSUER, request_id), csr_der=make_csr("other.example.com"))
        assert refused.value.reason == "REQUEST_ID_REUSED"
    # What would be refused now, because its end has passed, is still answered.
    late: dict[str, Any] = {"csr_der": CSR, "not_after": START + timedelta(hours=1)}
    first = crowd.ca.issue(with_id(ISSUER, "late"), **late)
    crowd.ca.clock.advance(days=1)
    assert crowd.ca.issue(with_id(ISSUER, "late"), **late).certificate == first.certificate
    assert crowd.ca.count("idempotency_keys") == 3
    assert crowd.pool.tally.signed > 40


def test_killed_under_load(crowd: Crowd) -> None:
    """What a process had when it was killed is made by the ca, once; another one takes its place."""
    crowd.start()
    for round_ in range(2):
        futures = crowd.begin(150, f"kill-{round_}")
        crowd.signal(signal.SIGKILL)
        futures += crowd.begin(50, f"then-{round_}")
        found = serials(futures)
        assert len(set(found)) == 200
        assert serials(crowd.begin(150, f"kill-{round_}")) == found[:150]
        crowd.start()
    assert crowd.pool.tally.failures == 2
    assert crowd.ca.count("idempotency_keys") == 400
    assert crowd.ca.count("certificates") == crowd.ca.count("certificate_status")
    assert chain_flaws(crowd.ca.db) == []


@sqlite_only
def test_stopped_under_load(ca: Ca, database_url: str, tmp_path: Path) -> None:
    """A process that hangs is waited for only so long; then the ca does its work, and another takes its place."""
    limits = replace(AT_ONCE, answer_within=0.3)
    crowd = make_crowd(ca, make_setup(ca, database_url, tmp_path), limits)
    try:
        crowd.start()
        pid = crowd.signal(signal.SIGSTOP)
        assert len(set(serials(crowd.begin(60, "stop")))) == 60
        wait_until(lambda: pid not in signing_pids(), within=10)
        crowd.start()
        before = crowd.pool.tally.signed
        crowd.ca.issue(ISSUER)
        assert crowd.pool.tally.signed == before + 1
    finally:
        crowd.pool.close()


FORM: Any = (1, b"", "x")
STRANGER: Made = (99, b"\1", b"", "", None, (), "server", b"", 0, 0, 0, None, b"", "csr_der")
READY = frame(Ready())


@sqlite_only
@pytest.mark.parametrize(
    ("ready", "answer"),
    [
        pytest.param(None, None, id="ends-at-once"),
        pytest.param(READY, b"", id="ends"),
        pytest.param(READY, None, id="says-nothing"),
        pytest.param(READY, b"\0\0\0\5hello", id="talks-nonsense"),
        pytest.param(READY, b"\xff\xff\xff\xff", id="promises-too-much"),
        pytest.param(READY, frame(Answer(2, [], [None])), id="answers-another-batch"),
        pytest.param(READY, frame(Answer(1, [], [])), id="answers-too-few"),
        pytest.param(READY, frame(Answer(1, [], [FORM])), id="answers-in-another-form"),
        pytest.param(READY, frame(Answer(1, [], [STRANGER])), id="names-an-unknown-issuer"),
        pytest.param(READY, READY, id="is-ready-twice"),
    ],
)
def test_odd_processes(
    ready: bytes | None,
    answer: bytes | None,
    ca: Ca,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a process says instead of an answer, the ca answers."""
    files = {tmp_path / "ready": ready, tmp_path / "answer": answer}
    for file, content in files.items():
        if content is not None:
            file.write_bytes(content)
    monkeypatch.setattr(signing_line, "PROGRAM", (sys.executable, "-S", ODD, *map(str, files)))
    crowd = make_crowd(ca, make_setup(ca, database_url, tmp_path), replace(AT_ONCE, answer_within=0.2))
    try:
        ca.issue(ISSUER)  # starts one
        if ready == READY:
            wait_until(lambda: crowd.pool.running == 1, within=30)
        assert serials(crowd.begin(1, "odd"))
        wait_until(lambda: crowd.pool.tally.failures >= 1, within=30)
        assert crowd.pool.tally.signed == 0
        assert len(set(serials(crowd.begin(20, "more")))) == 20
    finally:
        crowd.pool.close()
    assert signing_pids() == []


def test_a_key_that_was_blocked_meanwhile(crowd: Crowd) -> None:
    """It is found out in the transaction, whoever has signed (R103)."""
    ca, csr = crowd.ca, make_csr()
    crowd.start()
    known = ca.issue(ISSUER, csr_der=csr).certificate
    ca.revoke(make_actor("revoker"), known.serial, Reason.KEY_COMPROMISE)
    before = crowd.pool.tally.signed
    with pytest.raises(DomainError) as refused:
        ca.issue(ISSUER, csr_der=csr)
    assert (refused.value.reason, refused.value.violations[0].field) == ("KEY_BLOCKED", "csr_der")
    assert crowd.pool.tally.signed == before + 1


@sqlite_only
@pytest.mark.parametrize("change", ["retired", "compromised", "revoked"])
def test_an_issuer_that_has_changed_unseen(crowd: Crowd, change: str) -> None:
    """A process that knows nothing of it signs, and the transaction refuses: what it signed is forgotten."""
    ca = crowd.ca
    crowd.start()
    ca.issue(ISSUER)
    before, signed = ca.count("certificates"), crowd.pool.tally.signed
    change_behind_their_backs(ca, change)
    reasons = {"retired": "ISSUER_NOT_ACTIVE", "compromised": "ISSUER_COMPROMISED", "revoked": "ISSUER_REVOKED"}
    for future in crowd.begin(20, "late"):
        with pytest.raises(DomainError) as refused:
            future.result(30)
        assert refused.value.reason == reasons[change]
    assert (ca.count("certificates"), ca.count("idempotency_keys")) == (before, 0)
    assert crowd.pool.tally.signed > signed


def change_behind_their_backs(ca: Ca, change: str) -> None:
    """As another process would: nobody here is told to forget what is known of issuers."""
    with Writer(ca.db) as writer:
        keys = HeldKeys({"issuing": ca.hierarchy.issuing_key})
        other = Ca(
            CertificateAuthority(ca.db, writer, keys, SETTINGS, clock=ca.clock), ca.db, ca.clock, ca.hierarchy, writer
        )
        if change == "retired":
            other.authority.hierarchy.begin_update("issuing", IssuerState.RETIRED, ADMIN).result(10)
            return
        reason = Reason.CA_COMPROMISE if change == "compromised" else Reason.SUPERSEDED
        other.revoke(ADMIN, serial_from_int(ca.hierarchy.issuing.serial_number), reason)


def test_a_roll_over(database: Database, database_url: str, writer: Writer, tmp_path: Path) -> None:
    """From the moment when it was told, certificates are the new issuer's, with its limits; none is late."""
    root_key, second_key = generate_key(), generate_key()
    root = make_root(name="Root", key=root_key, now=START)
    first = make_issuing(root=root, root_key=root_key, name="First", key=(key := generate_key()), now=START)
    crl = make_crl(Issuer(root, root_key), number=1, this_update=START, next_update=START + timedelta(days=300))
    ca = make_ca(database, writer, Hierarchy(root, first, key, crl))
    setup = make_setup(ca, database_url, tmp_path)
    (tmp_path / "ca/second.key").write_bytes(encrypt_key(second_key, b"secret"))
    records = ca.authority.issuers()
    keys = load_keys(records, tmp_path, lambda _: b"secret")
    authority = CertificateAuthority(database, writer, keys, SETTINGS, clock=ca.clock)
    crowd = make_crowd(Ca(authority, database, ca.clock, ca.hierarchy, writer), setup)
    try:
        crowd.start()
        assert {future.result(30).certificate.issuer_name for future in crowd.begin(20)} == {"issuing"}
        days = timedelta(days=40)
        second = make_issuing(root=root, root_key=root_key, name="Second", key=second_key, now=START, validity=days)
        found = (second.public_bytes(Encoding.DER),)
        command = ImportCommand(
            name="second", certificates_der=found, key_ref="file:ca/second.key", retired_issuers=("issuing",)
        )
        authority.hierarchy.begin_import(command, ADMIN).result(10)
        for future in crowd.begin(20):
            result = future.result(30)
            assert (result.certificate.issuer_name, result.chain_der) == ("second", found)
            assert result.certificate.not_after <= second.not_valid_after_utc
            x509.load_der_x509_certificate(result.certificate.der or b"").verify_directly_issued_by(second)
        assert crowd.pool.tally.signed >= 40
    finally:
        crowd.pool.close()


@sqlite_only
def test_an_issuer_that_has_expired(crowd: Crowd) -> None:
    """Its time is the ca's: a process has no clock of its own."""
    crowd.start()
    crowd.ca.clock.now = crowd.ca.hierarchy.issuing.not_valid_after_utc + timedelta(seconds=1)
    with pytest.raises(DomainError) as refused:
        crowd.ca.issue(ISSUER)
    assert refused.value.reason == "ISSUER_EXPIRED"


@sqlite_only
def test_a_passphrase_that_was_typed(ca: Ca, database_url: str, tmp_path: Path) -> None:
    """Where keys cannot be opened without asking, the ca goes on by itself, and does not try again and again."""
    setup = replace(make_setup(ca, database_url, tmp_path), ca=CaSettings())
    crowd = make_crowd(ca, setup)
    try:
        ca.issue(ISSUER)
        wait_until(lambda: crowd.pool.tally.failures == 1, within=60)
        assert len(set(serials(crowd.begin(20)))) == 20
        assert "ca-signing" not in {thread.name for thread in threading.enumerate()}
    finally:
        crowd.pool.close()


def test_the_end(crowd: Crowd) -> None:
    """What is on its way when the pool is closed is made by the writer; afterwards the ca signs as before."""
    crowd.start()
    futures = crowd.begin(100, "end")
    crowd.pool.close()
    assert len(set(serials(futures))) == 100
    crowd.ca.issue(ISSUER)
    crowd.pool.close()


@sqlite_only
def test_signals_for_the_whole_group(crowd: Crowd) -> None:
    """Ctrl-C and an init system's SIGTERM reach it, too: it goes on until the ca hangs up."""
    crowd.start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        crowd.signal(number)
    serials(crowd.begin(20))
    assert (crowd.pool.running, crowd.pool.tally.failures) == (1, 0)


def test_it_is_private_before_anything_else() -> None:
    """What takes time is imported once the process is tied to the ca, and its memory is nobody else's to read."""
    code = "import sys, services.ca.signing_process; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "services" in found
    assert not {"cryptography", "sqlalchemy", "pydantic", "structlog", "grpc"} & {*found}


@sqlite_only
def test_nothing_to_do(ca: Ca, database_url: str, tmp_path: Path) -> None:
    """A process that nobody needs any more ends, and is started again when it is needed."""
    crowd = make_crowd(ca, make_setup(ca, database_url, tmp_path), replace(AT_ONCE, idle=0.2))
    try:
        crowd.start()
        wait_until(lambda: crowd.pool.running == 0 and signing_pids() == [], within=10)
        crowd.start()
        assert crowd.pool.tally.failures == 0
    finally:
        crowd.pool.close()


@sqlite_only
def test_no_thread_to_be_had(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who asks suffers from it, and it is tried again later."""

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "ca-signing":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert len(set(serials(crowd.begin(20)))) == 20
    assert (crowd.pool.running, crowd.pool.tally.failures) == (0, 1)
    monkeypatch.undo()
    crowd.start()
    serials(crowd.begin(3))
    assert crowd.pool.tally.signed == 3


@sqlite_only
def test_figures(crowd: Crowd) -> None:
    """What operators see."""
    registry = CollectorRegistry()
    registry.register(SigningFigures(crowd.pool))
    crowd.start()
    serials(crowd.begin(3))
    with pytest.raises(DomainError):
        crowd.begin(1, csr_der=b"x")[0].result(30)
    told = dict(line.rsplit(" ", 1) for line in generate_latest(registry).decode().splitlines() if line[0] != "#")
    assert told == {
        "goodstanding_signing_processes": "1.0",
        "goodstanding_signing_process_certificates_total": "3.0",
        "goodstanding_signing_process_returned_total": "1.0",
        "goodstanding_signing_process_failures_total": "0.0",
    }


@sqlite_only
def test_a_crowd_of_one_starts_nothing(ca: Ca, database_url: str, tmp_path: Path) -> None:
    """Neither calls one after the other, nor a short rush, nor a setting of none start a process."""
    crowd = make_crowd(ca, make_setup(ca, database_url, tmp_path), Limits())
    try:
        for _ in range(5):
            ca.issue(ISSUER)
        serials(crowd.begin(60))
        assert "ca-signing" not in {thread.name for thread in threading.enumerate()}
        assert signing_pids() == []
    finally:
        crowd.pool.close()
