"""Shards of an issuer whose key has left (R109, R112): certificates go on naming their addresses for life."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.crl_health import CrlHealth
from services.db.records import FULL, Actor, IssuerState
from services.errors import NotFound
from services.pki.crls import CrlEntry, make_crl
from services.pki.issuers import Issuer
from services.status.lookup import StatusReader
from tests.ca.revocation_lists import Lists, number_of
from tests.ca.world import Ca, make_actor


def given_out(ca: Ca, shard: int) -> bytes:
    """What the status service has at the address of a list."""
    reader = StatusReader(ca.db, ca.clock)
    crl = reader.describe_crl("issuing", shard)
    return b"".join(reader.crl_block(crl, n) for n in range(crl.size // 2**20 + 1))


def test_the_full_list_stands_in_for_shards(sharded: Lists, issuer: Actor, revoker: Actor) -> None:
    """Once nobody here makes shards any more, the next full list is at their addresses; and health goes by it."""
    ca = sharded.ca
    serial = ca.issue(issuer).certificate.serial
    ca.revoke(revoker, serial)
    sharded.settle()
    own = {shard: sharded.crl(shard).public_bytes(Encoding.DER) for shard in (1, 2, 3)}
    ca.authority.hierarchy.begin_update("issuing", IssuerState.RETIRED, make_actor("admin")).result(10)
    ca.authority.hierarchy.begin_update("issuing", IssuerState.OFFLINE, make_actor("admin")).result(10)
    health = CrlHealth(ca.db, ca.authority.directory, timedelta(days=1), ca.clock)
    ca.clock.advance(days=5)
    assert {shard: given_out(ca, shard) for shard in own} == own, "they last for some days yet"
    assert health.look()["crl/issuing"]
    now, number = ca.clock(), number_of(sharded.crl()) + 1
    later = now + timedelta(days=30)
    signer = Issuer(ca.hierarchy.issuing, ca.hierarchy.issuing_key)
    der = make_crl(signer, [CrlEntry(serial, now)], number=number, this_update=now, next_update=later)
    ca.authority.foreign_crls.begin("issuing", der, make_actor("admin")).result(10)
    ca.clock.advance(days=5)
    assert [given_out(ca, shard) for shard in (FULL, 1, 2, 3)] == [der] * 4
    assert [each.oid for each in x509.load_der_x509_crl(der).extensions if each.critical] == [], "it has no IDP"
    assert health.look()["crl/issuing"], "the last of its shards would be over by now"
    with pytest.raises(NotFound):
        given_out(ca, 4)
    ca.clock.advance(days=30)
    assert not health.look()["crl/issuing"]
