"""The cache: bounded, and nothing in it outlives what it was made from."""

from __future__ import annotations

import gc
from functools import partial

import pytest

from gateway.answer import Answer
from gateway.answers import AnswerCache, Entry, Ready, Revocation, Status
from gateway.evidence import CertificateKey


def status(number: int, *, revoked: bool = False, revision: int = 1) -> Status:
    """The status of certificate `number`."""
    key = CertificateKey("issuing", number.to_bytes(4, "big"))
    return Status(key, True, Revocation(5, 1) if revoked else None, 0, 100, revision)


def ready(entry: Entry, name: bytes, size: int = 100) -> Ready:
    """A ready answer for one spelling of the request."""
    return Ready(Answer(b"x" * size), b"request " + name, b"cert id " + name, None, 100, entry)


def test_the_same_status_again_keeps_ready_answers() -> None:
    """A look-up that brings nothing new only renews the evidence."""
    cache = AnswerCache(10, 10**6)
    entry = cache.put(status(1), 5.0, 10)
    cache.add_ready(ready(entry, b"a"))
    assert cache.put(status(1), 6.0, 11) is entry
    assert entry.looked_up_at == 6.0
    assert cache.by_request(b"request a") is not None
    cache.put(status(1), 5.5, 12)
    assert entry.looked_up_at == 6.0


def test_another_status_drops_ready_answers() -> None:
    """When the status changes, nothing that was made from the old one is found again, or has evidence left."""
    cache = AnswerCache(10, 10**6)
    old = cache.put(status(1), 5.0, 10)
    cache.add_ready(ready(old, b"a"))
    cache.put(status(1, revoked=True, revision=2), 6.0, 11)
    assert cache.by_request(b"request a") is None
    assert (old.covered, old.looked_up_at) == (False, float("-inf"))


@pytest.mark.parametrize(("revision", "held"), [(9, True), (10, True), (11, False)])
def test_a_change_drops_only_what_was_read_before_it(revision: int, held: bool) -> None:
    """A change that the look-up has seen already does not throw its result away."""
    cache = AnswerCache(10, 10**6)
    cache.put(status(1), 5.0, 10)
    cache.changed(status(1).key, revision)
    assert (cache.get(status(1).key) is not None) is held


def test_answers_made_after_the_entry_went_are_not_kept() -> None:
    """An answer that was being signed when its status changed never becomes a ready one."""
    cache = AnswerCache(10, 10**6)
    entry = cache.put(status(1), 5.0, 10)
    cache.changed(status(1).key, 11)
    cache.add_ready(ready(entry, b"a"))
    assert cache.by_request(b"request a") is None
    assert cache.size == 0


def test_entries_and_bytes_are_bounded() -> None:
    """However many certificates and answers come, both bounds hold, and the account returns to zero."""
    cache = AnswerCache(100, 200_000)
    for number in range(1000):
        entry = cache.put(status(number), 5.0, 10)
        for name in (b"a", b"b"):
            cache.add_ready(ready(entry, b"%d%s" % (number, name), 3000))
        assert len(cache) <= 100
        assert cache.size <= 200_000
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


def test_what_goes_is_given_back_at_once() -> None:
    """Entries that had to go take no memory: the bounds would mean little if they waited for a collection of cycles."""
    cache = AnswerCache(10, 10**6)
    gc.collect()
    gc.disable()
    try:
        for number in range(1000):
            entry = cache.put(status(number), 5.0, 10)
            answer = Answer(b"x", fresh=partial(is_held, (entry,)))
            cache.add_ready(Ready(answer, b"%d" % number, b"cert id", None, 100, entry))
        assert len(cache) == 10
        del entry, answer
        assert sum(isinstance(each, Entry) for each in gc.get_objects()) == 10
    finally:
        gc.enable()


def is_held(entries: tuple[Entry, ...]) -> bool:
    """Whether answers made from these may be given."""
    return all(entry.covered for entry in entries)


def test_spellings_of_one_certificate_are_bounded() -> None:
    """A client that varies its requests cannot hang any number of answers on one certificate."""
    cache = AnswerCache(10, 10**9)
    entry = cache.put(status(1), 5.0, 10)
    for number in range(100):
        cache.add_ready(ready(entry, b"%d" % number))
    assert len(entry.ready) == 8
    assert cache.by_request(b"request 99") is not None
    assert cache.by_request(b"request 0") is None


def test_signers_do_not_push_out_each_others_answers() -> None:
    """G4: answers are bounded for each signer alone, and only those for plain requests are found by one."""
    cache = AnswerCache(10, 10**9)
    entry = cache.put(status(1), 5.0, 10)
    cache.add_ready(ready(entry, b"plain"))
    for number in range(100):
        cache.add_ready(Ready(Answer(b"x"), None, b"cert id %d" % number, None, 100, entry, 0, 1))
    assert len(entry.ready) == 9
    assert cache.by_request(b"request plain") is not None
    cache.clear()
    assert cache.size == 0


def test_an_answer_that_was_superseded_takes_nothing_along() -> None:
    """When another signer took over for the same request, its answer stays although the first one's goes."""
    cache = AnswerCache(10, 10**9)
    entry = cache.put(status(1), 5.0, 10)
    cache.add_ready(ready(entry, b"a"))
    other = Ready(Answer(b"x"), b"request a", b"cert id a", None, 100, entry, 0, 1)
    cache.add_ready(other)
    for number in range(8):
        cache.add_ready(ready(entry, b"%d" % number))
    assert cache.by_request(b"request a") is other


def test_cycling_does_not_flush_what_is_hot() -> None:
    """Going through ten times more certificates than fit leaves those alone that are asked for again and again."""
    cache = AnswerCache(100, 10**9)
    hot = [status(number) for number in range(50)]
    for entry in hot:
        cache.put(entry, 5.0, 10)
    for number in range(1000, 2000):
        for entry in hot:
            cache.get(entry.key)
        cache.put(status(number), 5.0, 10)
    assert all(cache.get(entry.key) is not None for entry in hot)


def test_what_is_asked_for_again_soon_after_it_went_stays() -> None:
    """Under a flood the short queue is too short to show who is hot; the second time is enough, and the bound holds."""
    cache = AnswerCache(100, 10**6)
    for number in range(1000, 1100):  # a cache full of what is hot
        cache.put(status(number), 5.0, 10)
        cache.get(status(number).key)
    for number in range(1100, 1300):
        cache.put(status(number), 5.0, 10)
    cache.put(status(1), 5.0, 10)
    for number in range(2000, 2050):
        cache.put(status(number), 5.0, 10)
    assert cache.get(status(1).key) is None
    cache.put(status(1), 5.0, 10)
    for number in range(3000, 3050):
        cache.put(status(number), 5.0, 10)
    assert cache.get(status(1).key) is not None
    for number in range(10_000, 12_000):
        cache.put(status(number), 5.0, 10)
    assert len(cache._ghosts) <= len(cache) <= 100


def test_an_evicted_entry_keeps_the_evidence_of_its_look_up() -> None:
    """Eviction says nothing about the status: an answer under way may go out on the strength of its look-up."""
    cache = AnswerCache(16, 10**9)
    entry = cache.put(status(1), 5.0, 10)
    for number in range(100, 200):
        cache.put(status(number), 5.0, 10)
    assert cache.get(status(1).key) is None
    assert (entry.covered, entry.looked_up_at) == (False, 5.0)
