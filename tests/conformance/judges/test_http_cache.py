"""Real caches before the gateway, configured as docs/caching.md says: what may be held is, and nothing else (R83)."""

from __future__ import annotations

import os
import re
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate
from tests.conformance.judges.servers import nginx, varnish
from tests.conformance.rules import PROJECT
from tests.conformance.wire import Reply, Responder, nonce
from tests.conformance.wire import request as ocsp_request
from tests.e2e.system import free_addresses
from tests.pages import blocks
from tests.waiting import wait_until

PAGE = PROJECT / "docs/caching.md"
GATEWAY = "127.0.0.1:2560"
SHORT = 2
HOUR = timedelta(hours=1)
FRESHNESS = ("cache-control", "content-length", "content-type", "etag", "expires", "last-modified")

pytestmark = pytest.mark.rule("R83")


def configuration(language: str, *replacements: tuple[str, str]) -> str:
    """The one configuration in that language on the page, with what is different in a test."""
    (text,) = blocks(PAGE.read_text(), language)
    for printed, actual in replacements:
        assert text.count(printed) == 1, printed
        text = text.replace(printed, actual)
    return text


@contextmanager
def _nginx(folder: Path, gateway: str, address: str) -> Iterator[None]:
    places = ("listen 80;", f"listen {address};"), ("/var/cache/nginx/ocsp", str(folder / "cache"))
    with nginx(folder, configuration("nginx", (GATEWAY, gateway), *places), address):
        yield


@contextmanager
def _varnish(folder: Path, gateway: str, address: str) -> Iterator[None]:
    port = gateway.rpartition(":")[2]
    with varnish(folder, configuration("vcl", ('.port = "2560"', f'.port = "{port}"')), address):
        yield


CACHES = {"nginx": _nginx, "varnish": _varnish}


@dataclass(frozen=True)
class Cache:
    """A cache before the default gateway, and one of the same kind before a gateway with a very short max-age."""

    kind: str
    usual: Responder
    short: Responder


@pytest.fixture(scope="module", params=CACHES)
def cache(estate: Estate, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    """Two running caches of each kind."""
    run = CACHES[request.param]
    folders = [tmp_path_factory.mktemp(f"{request.param}-{name}") for name in ("usual", "short")]
    usual, short = free_addresses(2)
    quick = estate.gateway("short-max-age", max_age=SHORT).http
    with run(folders[0], estate.system.http, usual), run(folders[1], quick, short):
        yield Cache(request.param, Responder(usual), Responder(short))


@pytest.fixture
def leaf(certificates: Certificates, cache: Cache, request: pytest.FixtureRequest) -> Certified:
    """A certificate that nobody has asked about."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")
    return certificates.issue(f"{name}.{cache.kind}.example.com")


def is_hit(reply: Reply) -> bool:
    """Whether the cache says that it had the answer."""
    return reply.header("x-cache") == "HIT"


def date_of(reply: Reply) -> datetime:
    """Its Date."""
    return parsedate_to_datetime(reply.header("date") or "")


@pytest.mark.rule("R73", "R74", "R75", "R76")
def test_the_second_get_is_a_hit(cache: Cache, leaf: Certified) -> None:
    """It is the same answer with the same headers, and its Date is that of the gateway, so that nobody counts anew."""
    first = cache.usual.get(leaf.request())
    wait_until(lambda: time.time() >= date_of(first).timestamp() + 1, within=10)  # so that another Date would show
    second = cache.usual.get(leaf.request())
    assert (is_hit(first), is_hit(second)) == (False, True)
    assert leaf.verified(first).status == "good"
    assert second.body == first.body
    assert [second.header(name) for name in FRESHNESS] == [first.header(name) for name in FRESHNESS]
    assert all(first.header(name) for name in FRESHNESS)
    assert first.header("cache-control") == "max-age=300, public, no-transform, must-revalidate"
    assert date_of(second) == date_of(first)


@pytest.mark.rule("R3", "R5")
@pytest.mark.parametrize("spelling", ["raw", "escaped"])
def test_slashes_survive(cache: Cache, certificates: Certificates, responder: Responder, spelling: str) -> None:
    """A path with // in its base64 reaches the gateway as it is, and is held under its own name."""
    now = datetime.now(UTC)
    while True:
        leaf = certificates.sign(f"slashes.{cache.kind}.example.com", "issuing", now - HOUR, now + HOUR)
        if "//" in (text := b64encode(leaf.request()).decode()):
            break
    certificates.record(leaf, "issuing")
    path = "/" + (text if spelling == "raw" else text.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"))
    first, second = cache.usual.send("GET", path), cache.usual.send("GET", path)
    assert leaf.verified(first).status == "good"
    assert is_hit(second)
    assert second.body == first.body == responder.send("GET", path).body


@pytest.mark.rule("R76")
def test_expiry_is_honoured(cache: Cache, leaf: Certified) -> None:
    """The first to ask after max-age gets a new answer: nothing stale is served while a new one is fetched."""
    first = cache.short.get(leaf.request())
    assert first.header("cache-control") == f"max-age={SHORT}, public, no-transform, must-revalidate"
    expired = time.time() + SHORT + 1  # caches count whole seconds
    wait_until(lambda: time.time() > expired, within=SHORT + 10)
    second = cache.short.get(leaf.request())
    assert not is_hit(second)
    assert date_of(second) > date_of(first)


@pytest.mark.rule("R43", "R49")
def test_a_revocation_is_seen_after_expiry(cache: Cache, certificates: Certificates, leaf: Certified) -> None:
    """A good answer that is held is followed by the revoked one, which is then held in its place."""
    assert cache.short.get(leaf.request()).answer.status == "good"
    certificates.revoke(leaf, "KEY_COMPROMISE")
    seen: list[tuple[str, bool]] = []

    def held() -> bool:
        reply = cache.short.get(leaf.request())
        seen.append((reply.answer.status, is_hit(reply)))
        return seen[-1] == ("revoked", True)

    wait_until(held, within=20)
    statuses = [status for status, _ in seen]
    assert statuses == sorted(statuses), "it was good again"


@pytest.mark.rule("R71")
@pytest.mark.parametrize("status", ["malformed_request", "unauthorized"])
def test_errors_are_never_held(cache: Cache, leaf: Certified, estate: Estate, status: str) -> None:
    """An error is asked for each time."""
    foreign = leaf.request(name=Certified(estate.ca("rsa"), leaf.certificate).issuer)
    der = {"malformed_request": leaf.request()[:-1], "unauthorized": foreign}[status]
    for _ in range(3):
        reply = cache.usual.get(der)
        assert reply.ocsp_status == status
        assert not is_hit(reply)


@pytest.mark.rule("R44", "R45")
def test_unknown_is_never_held(cache: Cache, certificates: Certificates) -> None:
    """A certificate that was asked about too early is good as soon as it is on record."""
    now = datetime.now(UTC)
    leaf = certificates.sign(f"early.{cache.kind}.example.com", "issuing", now - HOUR, now + HOUR)
    for _ in range(3):
        reply = cache.usual.get(leaf.request())
        assert reply.answer.status == "unknown"
        assert not is_hit(reply)
    certificates.record(leaf, "issuing")
    assert cache.usual.get(leaf.request()).answer.status == "good"


@pytest.mark.rule("R33", "R80")
def test_nonces_are_never_held(cache: Cache, leaf: Certified) -> None:
    """The same nonce again gets another signature: no cache has kept the answer."""
    der = ocsp_request(leaf.cert_id(), extensions=[nonce(bytes(32))])
    replies = [cache.usual.get(der) for _ in range(3)]
    assert not any(is_hit(reply) for reply in replies)
    assert [reply.answer.nonce for reply in replies] == [b"\x04\x20" + bytes(32)] * 3
    assert len({reply.body for reply in replies}) == 3


@pytest.mark.rule("R1", "R79")
def test_posts_are_never_held(cache: Cache, leaf: Certified) -> None:
    """A POST goes through to the gateway, also where a GET for the same is held."""
    cache.usual.get(leaf.request())
    replies = [cache.usual.post(leaf.request()) for _ in range(3)]
    assert not any(is_hit(reply) for reply in replies)
    assert {leaf.verified(reply).status for reply in replies} == {"good"}


@pytest.mark.rule("R15", "R79")
def test_head(cache: Cache, leaf: Certified) -> None:
    """HEAD is answered from what GET has left, with the same headers."""
    got, head = cache.usual.get(leaf.request()), cache.usual.get(leaf.request(), method="HEAD")
    assert head.status == 200
    assert is_hit(head)
    assert not head.body
    assert [head.header(name) for name in FRESHNESS] == [got.header(name) for name in FRESHNESS]


@pytest.mark.rule("R78")
@pytest.mark.parametrize("header", ["if_none_match", "if_modified_since"])
def test_conditional_requests(cache: Cache, leaf: Certified, header: str) -> None:
    """Who has the answer gets a 304 that prolongs it; who has an older one gets it anew. Both come from the cache."""
    got = cache.usual.get(leaf.request())
    same, other = {
        "if_none_match": (got.header("etag"), '"older"'),
        "if_modified_since": (got.header("last-modified"), "Thu, 01 Jan 1970 00:00:00 GMT"),
    }[header]
    kept = cache.usual.get(leaf.request(), **{header: same or ""})
    assert (kept.status, kept.body) == (304, b"")
    names = ("cache-control", "etag", "expires", "date")
    assert [kept.header(name) for name in names] == [got.header(name) for name in names]
    anew = cache.usual.get(leaf.request(), **{header: other})
    assert (anew.status, anew.body) == (200, got.body)
    assert is_hit(kept)
    assert is_hit(anew)


@pytest.mark.rule("R82")
def test_clients_cannot_force_a_fetch(cache: Cache, leaf: Certified) -> None:
    """A client's no-cache does not reach the gateway."""
    cache.usual.get(leaf.request())
    assert is_hit(cache.usual.get(leaf.request(), cache_control="no-cache", pragma="no-cache"))


def test_the_commands_on_the_page(cache: Cache, leaf: Certified, estate: Estate, tmp_path: Path) -> None:
    """What the page gives to try a cache with shows a miss, and then a hit."""
    (tmp_path / "test.pem").write_bytes(leaf.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "issuing.pem").write_bytes(estate.ca("issuing"))
    script = configuration("bash", ("http://ocsp.example.com", cache.usual.url))
    command = ["bash", "-euo", "pipefail", "-c", script]
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(?im)^x-cache: (\w+)", done.stdout) == ["MISS", "HIT"]


@pytest.mark.rule("R12")
def test_old_clients_profit_too(cache: Cache, leaf: Certified) -> None:
    """HTTP/1.0 without any header is answered from what was held."""
    got = cache.usual.get(leaf.request())
    path = "/" + b64encode(leaf.request()).decode().replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    host = f"Host: {cache.usual.address}\r\n"
    old, older = (cache.usual.exchange(f"GET {path} HTTP/1.0\r\n{each}\r\n".encode()) for each in (host, ""))
    assert old.body == older.body == got.body
    assert is_hit(old)
