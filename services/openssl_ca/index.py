r"""Rows of index.txt, read and written one at a time: what `openssl ca` writes is read back as it was meant.

Six columns with tabs between them, as crypto/txt_db and apps/ca.c in OpenSSL have them:

    state   expiry          revocation                           serial  file     subject
    R       330101000000Z   260102030405Z,keyCompromise          1003    unknown  /C=GB/CN=www.example.com

A backslash before a tab makes it part of the column; any other backslash is just that. A line that begins with # is a
comment. `parse_row(format_row(row)) == row` for every row that can be written.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Literal, NamedTuple

from services.openssl_ca.times import format_generalized, format_time, read_time, read_utc_time
from services.pki.reasons import Reason

State = Literal["V", "R", "E"]
COLUMNS: Final = ("state", "expiry", "revocation", "serial", "file", "subject")

# Spelt as in apps/ca.c; read in any case.
_REASON_WORDS: Final[dict[Reason, str]] = {
    Reason.UNSPECIFIED: "unspecified",
    Reason.KEY_COMPROMISE: "keyCompromise",
    Reason.CA_COMPROMISE: "CACompromise",
    Reason.AFFILIATION_CHANGED: "affiliationChanged",
    Reason.SUPERSEDED: "superseded",
    Reason.CESSATION_OF_OPERATION: "cessationOfOperation",
    Reason.CERTIFICATE_HOLD: "certificateHold",
    Reason.REMOVE_FROM_CRL: "removeFromCRL",
}
_REASONS: Final = {word.lower(): reason for reason, word in _REASON_WORDS.items()}
_KEY_TIMES: Final = {"keytime": Reason.KEY_COMPROMISE, "cakeytime": Reason.CA_COMPROMISE}
_KEY_TIME_WORDS: Final = {Reason.KEY_COMPROMISE: "keyTime", Reason.CA_COMPROMISE: "CAkeyTime"}
# RFC 2459, section 5.3.2; OpenSSL takes their names too.
_INSTRUCTIONS: Final = {
    "holdinstructionnone": "1.2.840.10040.2.1",
    "hold instruction none": "1.2.840.10040.2.1",
    "holdinstructioncallissuer": "1.2.840.10040.2.2",
    "hold instruction call issuer": "1.2.840.10040.2.2",
    "holdinstructionreject": "1.2.840.10040.2.3",
    "hold instruction reject": "1.2.840.10040.2.3",
}
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+", re.ASCII)
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)
# The rows of nearly every line of nearly every index, for which there is a quick way.
_PLAIN = re.compile(r"([VE])\t(\d{12}Z)\t\t((?!00)(?:[0-9A-F]{2})+)\tunknown\t([ -~]*)", re.ASCII)
_UNPRINTABLE = re.compile(r"[^ -~]")


class Revocation(NamedTuple):
    """What stands in the third column of a revoked row."""

    time: datetime
    reason: Reason | None = None
    """None: none is given, as `openssl ca -revoke` writes it by default."""
    hold_instruction: str | None = None
    """Dotted; only with certificateHold."""
    invalidity_time: datetime | None = None
    """Since when the key is believed to be in other hands; only with keyCompromise and cACompromise."""


class IndexRow(NamedTuple):
    """One row. Times are UTC in whole seconds."""

    state: State
    """Valid, revoked, or expired: the latter only where `openssl ca -updatedb` was run."""
    expiry: datetime
    revocation: Revocation | None
    """Not None for R, None for V and E."""
    serial: str
    """Hex in upper case, two digits an octet, no leading zero octets: also the name of its file in newcerts."""
    file: str = "unknown"
    subject: str = ""
    r"""OpenSSL's one-line form, printable ASCII: /C=GB/CN=Zo\xC3\xAB. What it escapes stays escaped."""


class BadLine(ValueError):
    """A line of an index that OpenSSL, or a careful reader, does not take."""

    def __init__(self, line: int, column: int | None, code: str, text: str) -> None:
        """`line` and `column` count from 1; `code` is UPPER_SNAKE and stable; None: it is about the line as a whole."""
        self.line, self.column, self.code, self.text = line, column, code, text
        where = f", column {column} ({COLUMNS[column - 1]})" if column else ""
        super().__init__(f"line {line}{where}: {text}")


def is_comment(line: bytes) -> bool:
    """Whether OpenSSL skips a line: # is its first character."""
    return line.startswith(b"#")


def parse_row(line: bytes, number: int = 1) -> IndexRow:
    r"""Read one line, without its newline; `number` counts from 1, for errors. A carriage return at its end is let go.

    Characters of a subject that OpenSSL would have escaped, such as those of Latin-1, come back as it escapes them
    (\xE9). Raises BadLine.
    """
    text = line.decode("latin-1")
    if plain := _PLAIN.fullmatch(text):
        state, expiry, serial, subject = plain.groups()
        try:
            return IndexRow(state, read_utc_time(expiry), None, serial, "unknown", subject)  # type: ignore[arg-type]
        except ValueError:
            raise _no_expiry(expiry, number) from None
    text = text.removesuffix("\r")
    fields = text.split("\t") if "\\\t" not in text else _split(text)
    if len(fields) != len(COLUMNS):
        raise BadLine(number, None, "COLUMN_COUNT", _count_text(text, len(fields)))
    state, expiry, revocation, serial, file, subject = fields
    if not (subject.isascii() and subject.isprintable() and file.isascii() and file.isprintable()):
        _require_text(file, subject, number)
        subject = _UNPRINTABLE.sub(_escaped, subject)
    if state == "V" or state == "E":
        if revocation:
            told = "a row that is not revoked has a revocation date"
            raise BadLine(number, 3, "REVOCATION_UNEXPECTED", told)
        revoked = None
    elif state == "R":
        revoked = _revocation(revocation, number)
    else:
        raise BadLine(number, 1, "STATE_INVALID", f"{_shown(state)} is none of V, R and E")
    try:
        expires = read_time(expiry)
    except ValueError:
        raise _no_expiry(expiry, number) from None
    return IndexRow(state, expires, revoked, _serial(serial, number), file, subject)  # type: ignore[arg-type]


def format_row(row: IndexRow) -> str:
    """Write one line, without its newline, as `openssl ca` does. Raises ValueError for what no line can say."""
    if (row.state == "R") != (row.revocation is not None):
        raise ValueError("a row has a revocation if it is revoked, and only then")
    if not _HEX.fullmatch(row.serial):
        raise ValueError("a serial number is hex with two digits an octet")
    revocation = format_revocation(row.revocation) if row.revocation else ""
    subject = _UNPRINTABLE.sub(_escaped, row.subject)
    fields = (row.state, format_time(row.expiry), revocation, normal_serial(row.serial), row.file)
    if row.file.endswith("\\") or _UNPRINTABLE.search(row.file.replace("\t", " ")):
        raise ValueError("the file's name cannot stand in a column")
    return "\t".join((*(field.replace("\t", "\\\t") for field in fields), subject))


def format_revocation(revocation: Revocation) -> str:
    """Write the third column. Raises ValueError for what it cannot say."""
    time, reason, instruction, invalidity = revocation
    # OpenSSL before 3.2 reads nothing but UTCTime here; format_time gives that until 2049.
    parts = [format_time(time)]
    if instruction is not None:
        if reason is not Reason.CERTIFICATE_HOLD or not _OID.fullmatch(instruction):
            raise ValueError("a hold instruction is a dotted number, and goes with certificateHold")
        parts += ["holdInstruction", instruction]
    elif invalidity is not None:
        if reason not in _KEY_TIME_WORDS:
            raise ValueError("an invalidity time goes with keyCompromise and cACompromise only")
        parts += [_KEY_TIME_WORDS[reason], format_generalized(invalidity)]
    elif reason is not None:
        if reason not in _REASON_WORDS:
            raise ValueError(f"OpenSSL has no word for the reason {reason.name}")
        parts.append(_REASON_WORDS[reason])
    return ",".join(parts)


def normal_serial(digits: str) -> str:
    """Hex with two digits an octet, in upper case and without leading zero octets; zero is 00."""
    while digits.startswith("00") and len(digits) > 2:
        digits = digits[2:]
    return digits.upper()


def _no_expiry(text: str, number: int) -> BadLine:
    return BadLine(number, 2, "EXPIRY_INVALID", f"{_shown(text)} is no time, as in 330101000000Z")


def _split(text: str) -> list[str]:
    """Split at the tabs that have no backslash before them. That backslash goes, and none that is before it counts."""
    first, *others = text.split("\t")
    fields = [first]
    for part in others:
        if fields[-1].endswith("\\"):
            fields[-1] = f"{fields[-1][:-1]}\t{part}"
        else:
            fields.append(part)
    return fields


def _count_text(text: str, count: int) -> str:
    if not text.strip():
        return "an empty line, at which OpenSSL gives up reading"
    if count == 1 and len(text.split()) >= len(COLUMNS) - 1:
        return "there are no tabs: has something turned them into blanks?"
    return f"{count} columns instead of {len(COLUMNS)}, with tabs between them: cut off, or joined with another?"


def _require_text(file: str, subject: str, number: int) -> None:
    if "\0" in subject:
        raise BadLine(number, 6, "CHARACTER_INVALID", "a NUL character, at which OpenSSL stops reading")
    if _UNPRINTABLE.search(file.replace("\t", " ")):
        raise BadLine(number, 5, "CHARACTER_INVALID", f"{_shown(file)} has characters other than printable ASCII")


def _revocation(text: str, number: int) -> Revocation:
    time, *rest = text.split(",", 2)
    try:
        revoked = read_time(time)
    except ValueError:
        told = f"{_shown(time)} is no time, as in 260102030405Z" if time else "a revoked row without a revocation date"
        raise BadLine(number, 3, "REVOCATION_INVALID", told) from None
    if not rest:
        return Revocation(revoked)
    word, extra = rest[0].lower(), rest[1] if len(rest) > 1 else None
    if word == "holdinstruction":
        return Revocation(revoked, Reason.CERTIFICATE_HOLD, _instruction(extra, number))
    if word in _KEY_TIMES:
        return Revocation(revoked, _KEY_TIMES[word], None, _key_time(rest[0], extra, number))
    if word not in _REASONS:
        raise BadLine(number, 3, "REASON_INVALID", f"{_shown(rest[0])} is no reason that OpenSSL knows")
    if extra is not None:
        raise BadLine(number, 3, "REASON_INVALID", f"nothing may follow {rest[0]}, but {_shown(extra)} does")
    return Revocation(revoked, _REASONS[word])


def _instruction(extra: str | None, number: int) -> str:
    if not extra:
        raise BadLine(number, 3, "REASON_INVALID", "holdInstruction without the instruction")
    found = _INSTRUCTIONS.get(extra.lower(), extra)
    if not _OID.fullmatch(found):
        told = f"{_shown(extra)} is no hold instruction: a dotted number, or one of the three names"
        raise BadLine(number, 3, "REASON_INVALID", told)
    return found


def _key_time(word: str, extra: str | None, number: int) -> datetime:
    try:
        return read_time(extra or "", generalized=True)
    except ValueError:
        told = (
            f"{word} with {_shown(extra)}, which is no time as in 20260102030405Z" if extra else f"{word} without time"
        )
        raise BadLine(number, 3, "REASON_INVALID", told) from None


def _serial(text: str, number: int) -> str:
    if _HEX.fullmatch(text):
        return normal_serial(text)
    if text.startswith("-"):
        told = f"{_shown(text)} is negative: nobody asks for such a number over OCSP"
    elif len(text) % 2:
        told = f"{_shown(text)} has an odd number of digits: is one missing? OpenSSL writes two for every octet"
    else:
        told = f"{_shown(text)} is not hex" if text else "no serial number"
    raise BadLine(number, 4, "SERIAL_INVALID", told)


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{octet:02X}" for octet in _octets(found[0]))


def _octets(character: str) -> bytes:
    return character.encode("latin-1" if ord(character) < 256 else "utf-8")


def _shown(text: str) -> str:
    r"""A part of a line for an error: short, and harmless on a terminal."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return f'"{_UNPRINTABLE.sub(_escaped, short)}"'
