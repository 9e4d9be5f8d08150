"""openssl.cnf, as far as `openssl ca` looks into it for names and paths (config(5) of OpenSSL).

Read are sections, continued lines, comments, quotes, escapes and variables, in OpenSSL's order: a variable stands for
the value that came before. What would change the meaning of the rest and is not read here is refused: `.include`, and
the `.pragma` that turns dollar signs into letters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT = "default"
_NAME = r"[A-Za-z0-9_.;-]*"
_SECTION = re.compile(r"\[\s*([^\]]*?)\s*\]", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\{([^}]{0,512})\}|\(([^)]{0,512})\)|(\w+(?:::\w+)?))", re.ASCII)
_ESCAPES = {"n": "\n", "r": "\r", "b": "\b", "t": "\t"}
_MAX_VALUE = 64 * 1024
_MAX_VALUES = 16 * 1024 * 1024


class BadConfig(ValueError):
    """A configuration that cannot be used; the text names the line."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {text}" if line else text)


@dataclass(frozen=True)
class OpenSSLConfig:
    """The values by section and name."""

    sections: Mapping[str, Mapping[str, str]]

    def get(self, section: str, name: str) -> str | None:
        """A value of a section, or else of the default section, as OpenSSL finds it. None: there is none."""
        for each in (section, DEFAULT):
            found = self.sections.get(each, {}).get(name)
            if found is not None:
                return found
        return None

    def ca_section(self, name: str | None = None) -> str:
        """The section of the CA: the one that is named, or else default_ca. Raises BadConfig."""
        found = name or self.get("ca", "default_ca")
        if not found:
            raise BadConfig(0, "there is no default_ca in section [ca]: name the CA's section")
        if found not in self.sections:
            raise BadConfig(0, f"there is no section [{found}], which is to be that of the CA")
        return found


def parse_config(text: str, *, fixed: Mapping[tuple[str, str], str], environ: Mapping[str, str]) -> OpenSSLConfig:
    """Read a configuration. `fixed` takes the place of values by section and name; `environ` is what $ENV:: finds.

    Raises BadConfig.
    """
    reading = _Reading(dict(fixed), environ)
    for number, line in _lines(text):
        reading.take(number, line)
    return OpenSSLConfig(reading.sections)


@dataclass
class _Reading:
    """What has been read so far."""

    fixed: Mapping[tuple[str, str], str]
    environ: Mapping[str, str]
    sections: dict[str, dict[str, str]] = field(default_factory=lambda: {DEFAULT: {}})
    section: str = DEFAULT
    length: int = 0
    """Of all values: variables that stand for variables would fill the memory."""

    def take(self, number: int, line: str) -> None:
        """Read one line."""
        if line.startswith("."):
            _directive(number, line)
            return
        if line.startswith("["):
            found = _SECTION.match(line)
            if found is None or not found[1]:
                raise BadConfig(number, "a section that has no ] or no name")
            self.section = found[1]
            self.sections.setdefault(self.section, {})
            return
        name, separator, value = line.partition("=")
        section, name = self._owner(name.strip())
        if not separator or not re.fullmatch(_NAME, name) or not name:
            raise BadConfig(number, "neither [ section ] nor name = value")
        fixed = self.fixed.get((section, name))
        read = self._value(number, value.strip()) if fixed is None else fixed
        self.length += len(read)
        if self.length > _MAX_VALUES:
            raise BadConfig(number, "values longer than 16 MiB in all: no openssl.cnf")
        self.sections.setdefault(section, {})[name] = read

    def _owner(self, name: str) -> tuple[str, str]:
        section, separator, rest = name.partition("::")
        return (section, rest) if separator else (self.section, name)

    def _value(self, number: int, text: str) -> str:
        parts: list[str] = []
        at, quote, length = 0, "", 0
        while at < len(text):
            character = text[at]
            if quote and character == quote:
                quote = ""
            elif not quote and character in "\"'`":
                quote = character
            elif character == "\\" and at + 1 < len(text):
                at += 1
                parts.append(text[at] if quote else _ESCAPES.get(text[at], text[at]))
            elif character == "$" and not quote and (found := _VARIABLE.match(text, at)):
                parts.append(self._variable(number, found[1] or found[2] or found[3] or ""))
                at = found.end() - 1
            else:
                parts.append(character)
            length += len(parts[-1]) if parts else 0
            if length > _MAX_VALUE:
                raise BadConfig(number, "a value longer than 64 KiB")
            at += 1
        return "".join(parts)

    def _variable(self, number: int, name: str) -> str:
        section, separator, rest = name.partition("::")
        if not separator:
            section, rest = self.section, name
        known = OpenSSLConfig(self.sections)
        found = self.environ.get(rest) if section == "ENV" else known.get(section, rest)
        if found is None:
            raise BadConfig(number, f"the variable {name} has no value at this line")
        return found


def _directive(number: int, line: str) -> None:
    word = line[1:].replace("=", " ").split()
    if word[:1] == ["pragma"] and not any(part.startswith("dollarid") for part in word[1:]):
        return
    if word[:1] == ["include"]:
        raise BadConfig(number, "other files are not included here: put them together into one, or name the parts")
    raise BadConfig(number, f".{word[0] if word else ''} is not understood here: name the parts instead")


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines that say something, with the number at which each begins: continued ones as one, comments gone."""
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    begun = 0
    for number, raw in enumerate(text.split("\n"), 1):
        begun = begun if parts else number
        line = _without_comment(raw.rstrip("\r \t"))
        if _continues(line):
            parts.append(line[:-1])
            continue
        whole = "".join((*parts, line)).strip()
        parts = []
        if whole:
            found.append((begun, whole))
    whole = "".join(parts).strip()
    return [*found, (begun, whole)] if whole else found


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _without_comment(line: str) -> str:
    quote, at = "", 0
    while at < len(line):
        character = line[at]
        if character == "\\":
            at += 1
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "\"'`":
            quote = character
        elif not quote and character == "#":
            return line[:at].rstrip()
        at += 1
    return line
