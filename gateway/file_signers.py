"""Signers from files, for issuers that have some in the configuration: nothing is enrolled for those (R64, R67, R68).

Files are followed. A pair that checks out takes over at once; one that does not leaves the old one signing, and is
tried again until it does, because a certificate may yet begin to be valid. It is told once. A pair whose certificate is
revoked does not sign, as soon as the status service has said so; that one is about to end is told in time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from gateway.config import ConfigError, GatewaySettings
from gateway.issuers import Issuer
from gateway.knowledge import StatusUnavailable
from gateway.passphrases import Prompt, question_for, read_passphrase, terminal
from gateway.signer_files import Pair, SignerPaths, UnusableSigner, has_nocheck, load_pair, signer_of
from gateway.signer_status import LookUp, certificate_key, days_of_notice, why_revoked
from gateway.signers import Signers

_logger = structlog.get_logger(__name__)


def paths_of(settings: GatewaySettings) -> dict[str, list[SignerPaths]]:
    """The files that the configuration names, by issuer.

    The passphrase of an issuer's first key is called gateway-<issuer>, those of the others gateway-<issuer>-<number>.

    Raises ConfigError: two keys would have to share the name of their passphrase.
    """
    found = {
        name: [
            SignerPaths(
                f"gateway-{name}" if number == 1 else f"gateway-{name}-{number}",
                settings.path(files.certificate),
                settings.path(files.key),
                None if files.passphrase_file is None else settings.path(files.passphrase_file),
            )
            for number, files in enumerate(issuer.signers, 1)
        ]
        for name, issuer in settings.gateway.issuers.items()
        if issuer.signers
    }
    names = Counter(paths.name for files in found.values() for paths in files if paths.passphrase_file is None)
    if shared := [name for name, count in names.items() if count > 1]:
        raise ConfigError(
            f"gateway.issuers: several signers would get the passphrase {', '.join(shared)}; "
            "give each of them a passphrase_file"
        )
    return found


@dataclass(slots=True)
class _Slot:
    paths: SignerPaths
    version: tuple[object, ...]
    """Of the files, when they were last read."""
    pair: Pair
    """The last one that could be read."""
    refused: str | None = None
    """Why what the files hold now is not what signs."""
    revoked: str | None = None
    """Why the pair does not sign, though nothing is wrong with the files."""
    noticed: int | None = None
    """So many days before its end, that was told."""


@dataclass(slots=True)
class _Typed:
    """Passphrases that were typed in, by their names: nobody can be asked again when files change."""

    prompt: Prompt | None
    """None: nobody is asked any more."""
    answers: dict[str, bytes] = field(default_factory=dict)

    def read(self, paths: SignerPaths) -> bytes:
        """The passphrase for a key, from wherever it comes. Raises PassphraseError."""
        if paths.name in self.answers:
            return self.answers[paths.name]
        prompt = self.prompt
        if prompt is None:
            return read_passphrase(paths.name, file=paths.passphrase_file)
        typed: list[str] = []

        def ask() -> str:
            typed.append(prompt(question_for(paths.name, paths.key)))
            return typed[0]

        passphrase = read_passphrase(paths.name, file=paths.passphrase_file, prompt=ask)
        if typed:
            self.answers[paths.name] = passphrase
        return passphrase


class FileSigners:
    """Keeps the signers that come from files."""

    def __init__(
        self,
        signers: Signers,
        paths: Mapping[str, Sequence[SignerPaths]],
        wall_clock: Callable[[], float],
        *,
        by_name: bool = False,
        look_up: LookUp | None = None,
    ) -> None:
        """Read the files; who sits before a terminal is asked for passphrases that are nowhere else.

        Args:
            signers: Where they are put.
            paths: The files, by issuer (`paths_of`).
            wall_clock: Seconds since 1970.
            by_name: Answers name the responder by its subject (R55).
            look_up: Asks for the status of the certificates themselves; without it, they count as not revoked.

        Raises ConfigError, naming all that cannot be used.
        """
        self._signers = signers
        self._look_up = look_up
        self._wall_clock = wall_clock
        self._by_name = by_name
        self._typed = _Typed(terminal())
        self._issuers: dict[str, Issuer] = {}
        self._slots: dict[str, list[_Slot]] = {}
        wrong = []
        for issuer, files in paths.items():
            self._slots[issuer] = []
            for number, each in enumerate(files, 1):
                try:
                    self._slots[issuer].append(_Slot(each, each.version(), self._load(each)))
                except UnusableSigner as error:
                    wrong.append(_placed(issuer, number, error))
        if wrong:
            raise ConfigError("; ".join(wrong))
        self._typed.prompt = None

    def __contains__(self, issuer: object) -> bool:
        """Whether an issuer has signers from files."""
        return issuer in self._slots

    def problems(self, issuer: str) -> list[str]:
        """Why an issuer's files, as they are now, do not sign."""
        slots = self._slots.get(issuer, ())
        return [why for slot in slots for why in (slot.refused, slot.revoked) if why is not None]

    def endings(self, issuer: str) -> list[str]:
        """Of an issuer's signers, those that end soon, and when."""
        found = []
        for number, slot in enumerate(self._slots.get(issuer, ())):
            signer = self._signers.current(issuer, number)
            if signer is not None and slot.noticed is not None:
                found.append(f"{slot.pair.paths.certificate} signs until {signer.not_after.isoformat()}")
        return found

    def follow(self, issuers: Iterable[Issuer]) -> list[str]:
        """Sign for these issuers, and for no others. Returns why files do not sign for those that are new."""
        refused = []
        known = {issuer.name: issuer for issuer in issuers}
        for name, slots in self._slots.items():
            issuer, before = known.get(name), self._issuers.get(name)
            if issuer is not None and before is not None and _speaks_of(issuer) == _speaks_of(before):
                self._issuers[name] = issuer
                continue
            self._signers.remove(name)
            self._issuers.pop(name, None)
            if issuer is None:
                continue
            self._issuers[name] = issuer
            for number, slot in enumerate(slots):
                slot.revoked = None
                try:
                    self._install(issuer, number, slot)
                except UnusableSigner as error:
                    slot.refused = str(error)
                    _logger.error("signer from files refused", issuer=name, reason=slot.refused)
                    refused.append(_placed(name, number + 1, error))
        return refused

    async def refresh(self) -> None:
        """Do all that is to be done again and again."""
        await self._read_again()
        await self._ask_for_revocations()
        self._tell_of_ends()

    async def _read_again(self) -> None:
        """Read files again that have changed, that were no good the last time, or whose certificate has expired."""
        for name, number, slot in self._all():
            version = slot.paths.version()
            if version == slot.version and slot.refused is None and not self._has_expired(slot.pair):
                continue
            try:
                pair = await asyncio.to_thread(self._load, slot.paths)
                self._take_over(name, number, slot, pair)
            except UnusableSigner as error:
                if version != slot.version or str(error) != slot.refused:
                    current = self._signers.current(name, number)
                    signs = current is not None and current.ends_at > self._wall_clock()
                    text = "changed signer files refused, the old signer goes on" if signs else "signer files refused"
                    _logger.warning(text, issuer=name, reason=str(error))
                slot.refused = str(error)
            slot.version = version

    def _take_over(self, name: str, number: int, slot: _Slot, pair: Pair) -> None:
        issuer = self._issuers.get(name)
        current = self._signers.current(name, number)
        before, is_another = slot.pair, pair.certificate != slot.pair.certificate
        slot.pair = pair
        # The same certificate again, such as after `touch`: answers that are ready stay good, and what is revoked so.
        if issuer is not None and (is_another or (current is None and slot.revoked is None)):
            try:
                self._install(issuer, number, slot)
            except UnusableSigner:
                slot.pair = before
                raise
            slot.revoked = None
        slot.refused = None

    async def _ask_for_revocations(self) -> None:
        """Take away signers whose certificates are revoked now, and bring back those that were on hold."""
        delegates = [
            (self._issuers[name], number, slot)
            for name, number, slot in self._all()
            if name in self._issuers and self._is_delegate(name, number, slot)
        ]
        if self._look_up is None or not delegates:
            return
        try:
            found = await self._look_up([certificate_key(issuer, slot.pair) for issuer, _, slot in delegates])
        except StatusUnavailable:
            return  # then nobody's status can be told, and nothing is signed
        for (issuer, number, slot), result in zip(delegates, found, strict=True):
            if self._issuers.get(issuer.name) is issuer:  # otherwise it is another now, and asked about again
                self._judge(issuer, number, slot, why_revoked(issuer, slot.pair, result.status))

    def _is_delegate(self, issuer: str, number: int, slot: _Slot) -> bool:
        """Whether a pair signs as a delegate, or would, were it not revoked."""
        current = self._signers.current(issuer, number)
        return slot.revoked is not None or (current is not None and not current.direct)

    def _judge(self, issuer: Issuer, number: int, slot: _Slot, why: str | None) -> None:
        before, slot.revoked = slot.revoked, why
        if why is not None and before is None:
            self._signers.remove(issuer.name, number)
            _logger.error("signer from files is revoked and signs no more", issuer=issuer.name, reason=why)
        elif why is None and before is not None:
            self._install(issuer, number, slot)

    def _tell_of_ends(self) -> None:
        for name, number, slot in self._all():
            signer = self._signers.current(name, number)
            if signer is None:
                continue
            begin = signer.certificate.not_valid_before_utc.timestamp()
            days = days_of_notice(begin, signer.ends_at, self._wall_clock())
            if days is not None and days != slot.noticed and signer.ends_at > self._wall_clock():
                _logger.warning(
                    "signer from files ends soon: put another in its place",
                    issuer=name,
                    certificate=str(slot.pair.paths.certificate),
                    not_after=str(signer.not_after),
                    days=days,
                )
            slot.noticed = days

    def _install(self, issuer: Issuer, number: int, slot: _Slot) -> None:
        pair = slot.pair
        signer = signer_of(pair, issuer, by_name=self._by_name)
        if not signer.direct and not has_nocheck(pair.certificate):
            _logger.warning(
                "a responder certificate without nocheck: clients may ask whether it is revoked",
                issuer=issuer.name,
                certificate=str(pair.paths.certificate),
            )
        self._signers.install(issuer.name, signer, number)
        _logger.info(
            "signer from files",
            issuer=issuer.name,
            certificate=str(pair.paths.certificate),
            direct=signer.direct,
            not_after=str(signer.not_after),
        )

    def _has_expired(self, pair: Pair) -> bool:
        return pair.certificate.not_valid_after_utc.timestamp() <= self._wall_clock()

    def _load(self, paths: SignerPaths) -> Pair:
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        return load_pair(paths, now, lambda: self._typed.read(paths))

    def _all(self) -> Iterator[tuple[str, int, _Slot]]:
        return ((name, number, slot) for name, slots in self._slots.items() for number, slot in enumerate(slots))


def _placed(issuer: str, number: int, error: UnusableSigner) -> str:
    return f"gateway.issuers.{issuer}.signers, number {number}: {error}"


def _speaks_of(issuer: Issuer) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """What a signer's being good for an issuer depends on."""
    return issuer.subject_der, issuer.public_key_der, issuer.certificates_der
