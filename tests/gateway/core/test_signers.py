"""Which signer signs: the first in order that is valid, unless another is preferred."""

from __future__ import annotations

from gateway.signers import Signers
from tests.gateway.core.world import NOW, Clocks, authority, delegate


def test_the_order_of_signers() -> None:
    """The first slot signs by default, however late it is filled; each can go on its own."""
    clocks, (ca, key) = Clocks(), authority("issuing")
    signers = Signers(clocks.wall_time)
    first, second = delegate(ca, key), delegate(ca, key)
    assert signers.choose("issuing") is None
    signers.install("issuing", second, 1)
    assert signers.default("issuing") is second
    assert signers.current("issuing") is None
    signers.install("issuing", first)
    assert signers.choose("issuing") == (0, first)
    assert signers.default("issuing") is first
    signers.remove("issuing", 0)
    assert signers.choose("issuing") == (1, second)
    assert signers.default("issuing") is second
    signers.remove("issuing", 1)
    assert signers.default("issuing") is None
    signers.remove("issuing")


def test_a_signer_ends() -> None:
    """R68: at its end the next one takes over; after the last, nobody signs."""
    clocks, (ca, key) = Clocks(), authority("issuing")
    signers = Signers(clocks.wall_time)
    first, second = (delegate(ca, key, end=NOW + seconds) for seconds in (100, 200))
    signers.install("issuing", first)
    signers.install("issuing", second, 1)
    clocks.pass_time(100)
    assert signers.choose("issuing") == (1, second)
    assert signers.default("issuing") is second
    clocks.pass_time(100)
    assert signers.choose("issuing") is None
    assert not signers.ready_for("issuing")


def test_a_signer_that_ends_too_soon() -> None:
    """Where answers have to be valid for a while (R84), it makes room for the next before its end, or for nobody."""
    clocks, (ca, key) = Clocks(), authority("issuing")
    signers = Signers(clocks.wall_time, {"issuing": 8 * 3600, "other": 0}.__getitem__)
    first, second = (delegate(ca, key, end=NOW + hours * 3600) for hours in (9, 20))
    for name in ("issuing", "other"):
        signers.install(name, first)
    signers.install("issuing", second, 1)
    clocks.pass_time(2 * 3600)
    assert signers.choose("issuing") == (1, second)
    assert signers.choose("other") == (0, first)
    clocks.pass_time(11 * 3600)
    assert signers.choose("issuing") is None
    assert not signers.ready_for("issuing")
