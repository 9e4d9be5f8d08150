"""Evidence: when it counts, and which look-ups may join (G3)."""

from __future__ import annotations

import pytest

from gateway.evidence import CertificateKey, Evidence

KEY = CertificateKey("issuing", b"\x01")
OTHER = CertificateKey("issuing", b"\x02")


@pytest.fixture
def evidence() -> Evidence:
    """Evidence that follows history h from revision 100 on."""
    evidence = Evidence(remembered_changes=2)
    evidence.reset("h", 100)
    return evidence


def test_proof_is_the_time_of_sending(evidence: Evidence) -> None:
    """However late the pong comes, only the time when its ping was sent counts."""
    evidence.ping_sent(1, 50.0)
    evidence.ping_sent(2, 50.2)
    evidence.pong(1, 101)
    assert (evidence.proof, evidence.applied) == (50.0, 101)
    evidence.pong(2, 101)
    assert evidence.proof == 50.2


def test_a_pong_answers_earlier_pings_too(evidence: Evidence) -> None:
    """A service may answer several pings with the pong of the last; the earlier ones prove nothing afterwards."""
    for ping in (1, 2, 3):
        evidence.ping_sent(ping, float(ping))
    evidence.pong(2, 100)
    evidence.pong(1, 100)
    assert evidence.proof == 2.0
    evidence.pong(3, 100)
    assert evidence.proof == 3.0


@pytest.mark.parametrize("how", ["never sent", "of an earlier stream", "of an earlier history"])
def test_an_unknown_pong_proves_nothing(evidence: Evidence, how: str) -> None:
    """A pong without its ping leaves proof and revision as they are."""
    if how != "never sent":
        evidence.ping_sent(7, 60.0)
    if how == "of an earlier stream":
        evidence.connected()
    if how == "of an earlier history":
        evidence.reset("h2", 5)
    evidence.pong(7, 1000)
    assert evidence.proof == float("-inf")
    assert evidence.applied < 1000


@pytest.mark.parametrize(
    ("history", "revision", "admitted"),
    [
        pytest.param("h", 105, True, id="read after the change"),
        pytest.param("h", 104, True, id="read at the change"),
        pytest.param("h", 103, False, id="read before the change"),
        pytest.param("h2", 105, False, id="another history"),
        pytest.param("", 105, False, id="no history"),
    ],
)
def test_a_look_up_joins_only_if_no_change_overtook_it(
    evidence: Evidence, history: str, revision: int, admitted: bool
) -> None:
    """A look-up read before a change that is known already must not undo it."""
    evidence.changed(KEY, 104)
    evidence.told_through(104)
    assert evidence.admits(KEY, history, revision) is admitted


def test_changes_of_other_certificates_do_not_matter(evidence: Evidence) -> None:
    """Only a change of the same certificate bars a look-up."""
    evidence.changed(OTHER, 104)
    evidence.told_through(104)
    assert evidence.admits(KEY, "h", 100)


def test_a_change_of_an_issuer_is_one_of_all_its_certificates(evidence: Evidence) -> None:
    """What was read before the change of an issuer does not join after it; other issuers do not matter."""
    evidence.issuer_changed("issuing", 104)
    assert not evidence.admits(KEY, "h", 103)
    assert evidence.admits(KEY, "h", 104)
    assert evidence.admits(CertificateKey("another", b"\x01"), "h", 103)
    evidence.reset("h2", 50)
    assert evidence.admits(KEY, "h2", 50)


def test_beyond_what_is_remembered_nothing_joins(evidence: Evidence) -> None:
    """When changes had to be forgotten, a look-up from before them cannot be judged, and is not taken."""
    evidence.changed(KEY, 101)
    evidence.changed(OTHER, 102)
    evidence.changed(CertificateKey("issuing", b"\x03"), 103)
    evidence.told_through(103)
    assert not evidence.admits(KEY, "h", 100)
    assert evidence.admits(KEY, "h", 101)


def test_a_look_up_from_before_the_reset_does_not_join(evidence: Evidence) -> None:
    """Changes before the reset were never told, so a look-up from before it may be wrong."""
    assert not evidence.admits(KEY, "h", 99)
    assert evidence.admits(KEY, "h", 100)
