"""Fixtures for the gateway's core."""

from __future__ import annotations

import pytest

from tests.gateway.core.world import World


@pytest.fixture
def world() -> World:
    """A responder whose watch is not yet there."""
    return World()
