"""Page tokens: opaque, and bound to their query."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import InvalidArgument
from services.rpc.paging import decode_token, encode_token, page_size

FILTERS = ("issuing", "revoked", "")


@pytest.mark.parametrize(("asked", "given_size"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_sizes(asked: int, given_size: int) -> None:
    """0 is the default, and too large is cut."""
    assert page_size(asked) == given_size


def test_a_negative_page_size_is_refused() -> None:
    """A negative size is the caller's mistake."""
    with pytest.raises(InvalidArgument) as caught:
        page_size(-1)
    assert (caught.value.reason, caught.value.violations[0].field) == ("PAGE_SIZE_INVALID", "page_size")


@given(cursor=st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)))
def test_a_token_brings_its_cursor_back(cursor: tuple[int, int]) -> None:
    """The place comes back with the same filters."""
    assert decode_token(encode_token(cursor, FILTERS), FILTERS) == cursor


def test_no_token_is_the_first_page() -> None:
    """An empty token has no cursor."""
    assert decode_token("", FILTERS) is None


@pytest.mark.parametrize(
    "filters", [("issuing", "revoked", "x"), ("issuing", "revoked"), ("issuingrevoked", "", ""), ()], ids=repr
)
def test_a_token_of_another_query_is_refused(filters: tuple[str, ...]) -> None:
    """Other filters, or the same text divided in another way: another query."""
    with pytest.raises(InvalidArgument, match="other filters"):
        decode_token(encode_token((1, 2), FILTERS), filters)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "====",
        "é",
        "A" * 10_000,
        encode_token((1,), FILTERS),
        encode_token((1, 2), FILTERS) + "=",
        "\x00",
        "AA\nAA",
    ],
    ids=lambda token: repr(token[:12]),
)
def test_garbage_is_refused(token: str) -> None:
    """Whatever is no token of ours gets one stable reason."""
    with pytest.raises(InvalidArgument) as caught:
        decode_token(token, FILTERS)
    assert (caught.value.reason, caught.value.violations[0].field) == ("PAGE_TOKEN_INVALID", "page_token")


@given(token=st.text())
def test_any_text_raises_nothing_else(token: str) -> None:
    """No text makes reading a token fail in another way."""
    with contextlib.suppress(InvalidArgument):
        decode_token(token, FILTERS)
