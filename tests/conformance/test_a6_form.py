"""A6: the form of answers: errors, DER, the name of the responder, times, and nothing that nobody asked for.

Every case of the table is an answer of another kind; every rule is checked on all of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import core, ocsp

from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate
from tests.conformance.strict import times, values
from tests.conformance.verification import key_hash, responder_certificate, signed_octets
from tests.conformance.wire import NONCE as NONCE_OID
from tests.conformance.wire import Answer, Reply, Responder, nonce, request
from tests.waiting import wait_until

NONCE = nonce(b"0123456789abcdef0123456789abcdef")
EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.9"
BASIC_RESPONSE = "1.3.6.1.5.5.7.48.1.1"
WHOLE_SECONDS = re.compile(rb"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d[0-5]\dZ")
HASHES = ("sha1", "sha256", "sha384", "sha512")

Table = dict[str, tuple[Certified, Answer]]
CASES = (
    *(f"good-{name}" for name in HASHES),
    *(f"{status}-{way}" for status in ("good", "revoked", "held", "unknown") for way in ("post", "get", "nonce")),
    "several",
    "the-same-twice",
    "by-name",
    "extended-revoked",
    "direct",
    "direct-rsa",
    "rsa",
    "ca-certificate",
    "baseline",
    "short",
)


@pytest.fixture(scope="module")
def subjects(responder: Responder, certificates: Certificates) -> dict[str, Certified]:
    """One certificate for each status; `unknown` was signed, but never recorded."""
    found = {name: certificates.issue(f"{name}-form.example.com") for name in ("good", "revoked", "held")}
    certificates.revoke(found["revoked"], "KEY_COMPROMISE")
    certificates.revoke(found["held"], "CERTIFICATE_HOLD")
    now = datetime.now(UTC)
    found["unknown"] = certificates.sign("unknown-form.example.com", "issuing", now, now + timedelta(days=1))
    both = request(found["revoked"].cert_id(), found["held"].cert_id())

    def are_revoked() -> bool:
        answer = responder.post(both).answer
        return [answer.status_of(0), answer.status_of(1)] == ["revoked", "revoked"]

    wait_until(are_revoked, within=10)
    return found


@pytest.fixture(scope="module")
def table(estate: Estate, responder: Responder, certificates: Certificates, subjects: dict[str, Certified]) -> Table:
    """The answers, by case; all of them are authentic."""
    good, unknown = subjects["good"], subjects["unknown"]
    others = {name: certificates.issue(f"{name}-form.example.com", name) for name in ("direct", "direct-rsa", "rsa")}
    ca = certificates.authority("issuing")
    replies: dict[str, tuple[Certified, Reply]] = {}
    for name in HASHES:
        replies[f"good-{name}"] = good, responder.post(good.request(hash_algorithm=name))
    for name, subject in subjects.items():
        replies[f"{name}-post"] = subject, responder.post(subject.request())
        replies[f"{name}-get"] = subject, responder.get(subject.request())
        replies[f"{name}-nonce"] = subject, responder.post(request(subject.cert_id(), extensions=[NONCE]))
    for name, subject in (*others.items(), ("ca-certificate", ca)):
        replies[name] = subject, responder.post(subject.request())
    every = [subject.cert_id(hash_algorithm="sha256") for subject in subjects.values()]
    replies["several"] = good, responder.post(request(*every))
    replies["the-same-twice"] = good, responder.post(request(good.cert_id(), good.cert_id()))
    by_name = estate.gateway("by-name", responder_id="name")
    extended = estate.gateway("never-issued-revoked", never_issued="extended-revoked")
    replies["by-name"] = good, by_name.post(good.request())
    replies["extended-revoked"] = unknown, extended.post(unknown.request())
    for name in ("baseline", "short"):
        replies[name] = good, estate.gateway(name, preset=name).post(good.request())
    return {name: (subject, subject.verified(reply)) for name, (subject, reply) in replies.items()}


def test_the_table_is_whole(table: Table) -> None:
    """Every case has an answer, with the status that it is named after."""
    assert sorted(table) == sorted(CASES)
    wanted = {"good": "good", "revoked": "revoked", "held": "revoked", "unknown": "unknown"}
    for name, (_, answer) in table.items():
        if (first := name.partition("-")[0]) in wanted:
            assert answer.status == wanted[first], name


@pytest.mark.rule("R54")
@pytest.mark.parametrize("case", CASES)
def test_der(table: Table, case: str) -> None:
    """A basic response in DER: the one form that there is, and what an independent encoder makes of the values."""
    _, answer = table[case]
    assert list(values(answer.der))
    assert ocsp.OCSPResponse.load(answer.der, strict=True).dump(force=True) == answer.der
    assert answer.response["response_bytes"]["response_type"].dotted == BASIC_RESPONSE
    basic = bytes(answer.response["response_bytes"]["response"])
    assert list(values(basic))
    assert ocsp.BasicOCSPResponse.load(basic, strict=True).dump(force=True) == basic


@pytest.mark.rule("R54")
@pytest.mark.parametrize("case", CASES)
def test_no_version_and_no_empty_certs(table: Table, case: str) -> None:
    """The version is v1, which is the default and so is left out; certs has something in it, or is not there."""
    _, answer = table[case]
    _, first, _ = list(values(signed_octets(answer)))[1]
    assert first in {1, 2}, "it begins with the ResponderID, byName [1] or byKey [2], and not with a version [0]"
    assert isinstance(answer.basic["certs"], core.Void) or len(answer.basic["certs"]) > 0


@pytest.mark.rule("R55")
@pytest.mark.parametrize("case", CASES)
def test_the_responder_is_named(table: Table, case: str) -> None:
    """By SHA-1 of the key that signed, whatever the CertID hashes with; by its subject where that was chosen. It is
    the delegate that is named, not the CA that appointed it.
    """
    subject, answer = table[case]
    signer = responder_certificate(answer, subject.ca)
    named = answer.data["responder_id"]
    if case == "by-name":
        assert named.name == "by_name"
        assert named.chosen.chosen.dump() == signer.subject.public_bytes() != subject.ca.subject.public_bytes()
        return
    assert (named.name, named.chosen.native) == ("by_key", key_hash(signer))
    assert len(key_hash(signer)) == 20
    assert (signer == subject.ca) == case.startswith("direct")


@pytest.mark.rule("R56", "R57")
@pytest.mark.parametrize("case", CASES)
def test_times_are_in_order(table: Table, case: str) -> None:
    """thisUpdate, producedAt, now, nextUpdate, for every one of several; nextUpdate is always there."""
    _, answer = table[case]
    for single in answer.singles:
        assert not isinstance(single["next_update"], core.Void)
        this_update, next_update = single["this_update"].native, single["next_update"].native
        assert this_update <= answer.produced_at <= datetime.now(UTC) < next_update


@pytest.mark.rule("R56")
def test_this_update_is_put_back(estate: Estate, certificates: Certificates) -> None:
    """By a minute, where clients' clocks may be a minute behind, for every answer that is older than that."""
    margin = timedelta(minutes=1)
    gateway = estate.gateway("margin", validity=240, clock_skew=60)
    now = datetime.now(UTC)
    subject = certificates.sign("margin.example.com", "direct", now - timedelta(days=1), now + timedelta(days=1))
    certificates.record(subject, "direct", issued_at=now - timedelta(days=1))
    for body in (subject.request(), request(subject.cert_id(), extensions=[NONCE])):
        asked = datetime.now(UTC)
        answer = subject.verified(gateway.post(body))
        # Without the margin it would be less than a quarter of the validity, which is a minute too.
        assert margin <= datetime.now(UTC) - answer.this_update
        assert asked - answer.this_update < 2 * margin + timedelta(seconds=1)


@pytest.mark.rule("R58")
@pytest.mark.parametrize("case", CASES)
def test_times_are_whole_seconds(table: Table, case: str) -> None:
    """YYYYMMDDHHMMSSZ, all of them."""
    _, answer = table[case]
    found = times(signed_octets(answer))
    revoked = sum(single["cert_status"].name == "revoked" for single in answer.singles)
    assert len(found) == 1 + 2 * len(answer.singles) + revoked
    assert all(WHOLE_SECONDS.fullmatch(each) for each in found), found


@pytest.mark.rule("R59")
@pytest.mark.parametrize("case", CASES)
def test_times_are_possible(table: Table, case: str) -> None:
    """Nothing was revoked after thisUpdate, and no answer is valid beyond its signer."""
    subject, answer = table[case]
    end = responder_certificate(answer, subject.ca).not_valid_after_utc
    for single in answer.singles:
        assert single["next_update"].native <= end
        if single["cert_status"].name == "revoked":
            assert single["cert_status"].chosen["revocation_time"].native <= single["this_update"].native


@pytest.mark.rule("R60")
@pytest.mark.parametrize("case", CASES)
def test_nothing_superfluous(table: Table, case: str) -> None:
    """No extension but the nonce that came and the one that R50 demands; no SingleResponse that was not asked for."""
    _, answer = table[case]
    extensions = answer.data["response_extensions"]
    wanted = [NONCE_OID] if case.endswith("-nonce") else [EXTENDED_REVOKE] if case == "extended-revoked" else []
    if wanted:
        assert [each["extn_id"].dotted for each in extensions] == wanted
    else:
        assert isinstance(extensions, core.Void)
    assert len(answer.singles) == {"several": 4, "the-same-twice": 2}.get(case, 1)
    assert all(isinstance(single["single_extensions"], core.Void) for single in answer.singles)


ERRORS = {"malformed_request": 1, "internal_error": 2, "try_later": 3, "sign_required": 5, "unauthorized": 6}


@pytest.mark.rule("R53")
@pytest.mark.parametrize("name", ["malformed_request", "sign_required", "unauthorized"])
def test_errors(estate: Estate, responder: Responder, subjects: dict[str, Certified], name: str) -> None:
    """Five octets, by POST and by GET: a status, and nothing signed."""
    good = subjects["good"]
    if name == "sign_required":
        anchors = str(estate.ca_file("root"))
        responder = estate.gateway("wants-signatures", signed_requests="require", request_trust_anchors=anchors)
    body = {
        "malformed_request": b"\x30\x03\x0a\x01\x00",
        "unauthorized": Certified(_stranger(estate), good.certificate).request(),
        "sign_required": good.request(),
    }[name]
    for reply in (responder.post(body), responder.get(body)):
        assert reply.body == bytes((0x30, 0x03, 0x0A, 0x01, ERRORS[name]))
        assert reply.ocsp_status == name


def _stranger(estate: Estate) -> bytes:
    return (estate.system.data / "tls/ca.pem").read_bytes()
