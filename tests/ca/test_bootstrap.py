"""Registering a hierarchy: what a fresh database holds afterwards, and that it happens once."""

from __future__ import annotations

import pytest

from services.ca.bootstrap import register_hierarchy
from services.db import crls, issuers, position, status
from services.db.records import IssuerState
from services.errors import AlreadyExists
from services.pki.serials import serial_from_int
from tests.ca.world import START, Ca


def test_a_fresh_hierarchy(ca: Ca) -> None:
    """Root and issuing CA, the root's list, and the status good for both certificates."""
    with ca.db.read() as conn:
        root, issuing = issuers.list_issuers(conn)
        crl = crls.latest_crl(conn, root.id)
        serials = [serial_from_int(found.serial_number) for found in (ca.hierarchy.root, ca.hierarchy.issuing)]
        statuses = status.get_statuses(conn, root.id, serials)
        last = position.read_position(conn).revision
    assert (root.state, root.key_ref, root.chain_der) == (IssuerState.OFFLINE, None, ())
    assert (issuing.state, issuing.key_ref) == (IssuerState.ACTIVE, "ca/issuing.key")
    assert issuing.chain_der == root.certificates_der
    assert crl is not None
    assert (crl.der, crl.number) == (ca.hierarchy.root_crl, 1)
    assert [found.revocation for found in statuses.values()] == [None, None]
    revisions = [root.revision, issuing.revision, *(statuses[serial].revision for serial in serials)]
    assert revisions == list(range(last - 3, last + 1))


def test_it_happens_once(ca: Ca) -> None:
    """A second time is refused, and leaves everything as it was."""
    before = ca.count("certificates"), ca.count("crl_lists")
    with pytest.raises(AlreadyExists) as refused:
        register_hierarchy(
            ca.db, ca.hierarchy.root, ca.hierarchy.issuing, key_ref="x", root_crl=ca.hierarchy.root_crl, now=START
        )
    assert refused.value.reason == "ISSUER_EXISTS"
    assert (ca.count("certificates"), ca.count("crl_lists")) == before
