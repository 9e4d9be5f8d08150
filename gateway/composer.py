"""Signed answers from what is known of certificates, and what of them can be kept for others (R54–R63, R80; G5).

Whatever is made here rests on the entries that it was made from: `Answer.fresh` says whether those are still vouched
for, and `usable` whether what was kept may be given to another asker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from gateway.answer import Answer, Refusal, Why
from gateway.answers import Entry, Ready
from gateway.knowledge import Knowledge
from gateway.ocsp.request import CertID, nonce_request, plain_request
from gateway.ocsp.response import OcspStatus, ResponseSigner, ResponseTemplate, encode_time
from gateway.policy import AnswerPolicy
from gateway.signers import Signers
from gateway.validity import ValidityPolicies, Window, as_time

NONCE_SIZES: Final = (16, 32, 23, 20, 8, 64)
"""What clients send: OpenSSL and Java 16, RFC 9654 32, GnuTLS 23, others. All are answered; these more quickly."""


class Unsigned(NamedTuple):
    """An answer that is whole but for its signature."""

    signer: ResponseSigner
    sign: Callable[[], bytes]
    """Makes the signature. Touches nothing that changes, so that any thread may call it."""
    complete: Callable[[bytes], Answer]
    """The answer with that signature; on the event loop."""
    shared: tuple[bytes, int, Entry] | None = None
    """What it is an answer to, where others may have it, too: CertID (DER), slot of the signer, entry."""

    def answer(self) -> Answer:
        """Sign, and complete."""
        return self.complete(self.sign())


class Composer:
    """Makes answers, and keeps in the cache of `knowledge` what can be shared. `wall_clock`: seconds since 1970."""

    def __init__(
        self,
        knowledge: Knowledge,
        signers: Signers,
        validity: ValidityPolicies,
        policy: AnswerPolicy,
        wall_clock: Callable[[], float],
    ) -> None:
        self._knowledge = knowledge
        self._signers = signers
        self._validity = validity
        self._policy = policy
        self._wall_clock = wall_clock

    def usable(self, ready: Ready, signer: ResponseSigner | None) -> bool:
        """Whether a ready answer may be given: its status is fresh, its period goes on, `signer` made it."""
        return (
            signer is ready.signer
            and ready.good_from <= self._wall_clock() < ready.good_until
            and self._knowledge.fresh(ready.entry)
        )

    def fill(self, ready: Ready, template: ResponseTemplate, nonce: bytes) -> Answer:
        """The answer that a template makes for this nonce now."""
        produced_at = max(int(self._wall_clock()), ready.this_update)
        answer = Answer(template.sign(encode_time(produced_at), nonce))
        answer.fresh = partial(self._knowledge.fresh, ready.entry)
        return answer

    def fill_unsigned(self, ready: Ready, template: ResponseTemplate, nonce: bytes, signer: ResponseSigner) -> Unsigned:
        """As `fill`, for a key that takes long."""
        produced_at = max(int(self._wall_clock()), ready.this_update)
        tbs = template.response_data(encode_time(produced_at), nonce)
        fresh = partial(self._knowledge.fresh, ready.entry)

        def complete(signature: bytes) -> Answer:
            return Answer(template.complete(tbs, signature), fresh=fresh)

        return Unsigned(signer, partial(signer.sign_octets, tbs, False), complete)

    def alone(
        self, cert_ids: Sequence[CertID], nonce: bytes | None, entries: Sequence[Entry], signer: ResponseSigner
    ) -> Unsigned:
        """An answer for one asker alone, with an entry for each CertID.

        Raises Refusal: the signer's certificate allows none now, or the clocks are too far apart.
        """
        now = int(self._wall_clock())
        windows = [self._window(entry, signer, now) for entry in entries]
        produced_at = max(now, *(window.this_update for window in windows))
        if any(window.next_update < produced_at for window in windows):
            # The clocks of gateway and database are far apart, and one answer would contradict itself.
            raise Refusal(OcspStatus.TRY_LATER, Why.CLOCKS_APART)
        tbs = self._build(cert_ids, nonce, entries, windows, produced_at, signer)
        fresh = self._freshness(entries)
        next_update = min(window.next_update for window in windows) if nonce is None else 0

        def complete(signature: bytes) -> Answer:
            return Answer(signer.envelope(tbs, signature), fresh=fresh, next_update=next_update)

        return Unsigned(signer, partial(signer.sign_octets, tbs, nonce is None), complete)

    def shared(self, cert_id: CertID, entry: Entry, slot: int, signer: ResponseSigner) -> Unsigned:
        """An answer for everybody who asks about this certificate alone, and gets this signer; ready from then on.

        Raises Refusal: as for `alone`.
        """
        if not entry.status.known:
            return self.alone([cert_id], None, [entry], signer)
        window = self._window(entry, signer, int(self._wall_clock()))
        tbs = self._build([cert_id], None, [entry], [window], window.this_update, signer)

        def complete(signature: bytes) -> Answer:
            body = signer.envelope(tbs, signature)
            answer = Answer(
                body,
                etag=b'"' + hashlib.sha256(body).hexdigest().encode() + b'"',
                this_update=window.this_update,
                next_update=window.next_update,
                max_age=self._validity.of(entry.status.key.issuer).max_age,
                fresh=self._freshness([entry]),
            )
            is_default = signer is self._signers.default(entry.status.key.issuer)
            plain = plain_request(cert_id.der) if is_default else None
            ready = Ready(answer, plain, cert_id.der, signer, window.good_until, entry, window.good_from, slot)
            self._knowledge.cache.add_ready(ready)
            return answer

        return Unsigned(signer, partial(signer.sign_octets, tbs, True), complete, (cert_id.der, slot, entry))

    def prepare(
        self, request_der: bytes, cert_id: CertID, nonce: bytes, entry: Entry, slot: int, signer: ResponseSigner
    ) -> None:
        """Have all but the nonce ready for the next who asks in the same, the usual, spelling."""
        size = len(nonce) - 2
        is_default = signer is self._signers.default(entry.status.key.issuer)
        if size not in NONCE_SIZES or not entry.status.known or not is_default:
            return
        request = nonce_request(cert_id.der, size)
        if request_der[:-size] != request:
            return
        window = self._window(entry, signer, int(self._wall_clock()))
        if self._policy.tells_production(entry.status, window):
            return
        single = self._policy.single_response(cert_id.der, entry.status, window, window.this_update)
        template = signer.template(single, size)
        self._knowledge.cache.add_ready(
            Ready(
                template,
                request,
                cert_id.der,
                signer,
                window.good_until,
                entry,
                window.good_from,
                slot,
                window.this_update,
                size,
            )
        )

    def _build(
        self,
        cert_ids: Sequence[CertID],
        nonce: bytes | None,
        entries: Sequence[Entry],
        windows: Sequence[Window],
        produced_at: int,
        signer: ResponseSigner,
    ) -> bytes:
        singles = [
            self._policy.single_response(cert_id.der, entry.status, window, produced_at)
            for cert_id, entry, window in zip(cert_ids, entries, windows, strict=True)
        ]
        never_issued = not all(entry.status.known for entry in entries)
        extensions = self._policy.response_extensions(never_issued=never_issued)
        return signer.to_sign(singles, as_time(produced_at), nonce, extensions=extensions)

    def _window(self, entry: Entry, signer: ResponseSigner, now: int) -> Window:
        begin = int(signer.certificate.not_valid_before_utc.timestamp())
        policy = self._validity.of(entry.status.key.issuer)
        window = policy.window(entry.status, now, begin, int(signer.ends_at))
        if window is None:
            raise Refusal(OcspStatus.TRY_LATER, Why.SIGNER_ENDS)  # R68: never sign with a certificate that has expired
        return window

    def _freshness(self, entries: Sequence[Entry]) -> Callable[[], bool]:
        fresh = self._knowledge.fresh
        if len(entries) == 1:
            return partial(fresh, entries[0])
        return lambda: all(map(fresh, entries))
