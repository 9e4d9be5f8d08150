"""The profiles that a configuration names: its own `[profiles.NAME]` tables, and those of `profiles_file` in [ca].

Whatever is wrong is one line for an operator, with file, table and key; all of it is told at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.pki.profile import Profile
from services.pki.profile_tables import Problem, read_profiles


class FileUnreadable(Exception):
    """A file is not there, cannot be read, or is not TOML. The text says which and why."""


def read_toml(path: Path, *, cure: str = "") -> dict[str, Any]:
    """The tables of a file; `cure` follows where there is no such file. Raises FileUnreadable."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # some editors begin with a byte order mark
    except FileNotFoundError:
        raise FileUnreadable(f"{path}: no such file{cure}") from None
    except OSError as error:
        raise FileUnreadable(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileUnreadable(f"{path}: is not TOML, which is UTF-8: line {line} is in another encoding") from None
    except tomllib.TOMLDecodeError as error:
        raise FileUnreadable(f"{path}: is not TOML: {error}") from None
    except RecursionError:
        raise FileUnreadable(f"{path}: is not TOML that can be read: too many brackets within each other") from None


def configured_profiles(path: Path, tables: object, more: Path | None) -> tuple[Mapping[str, Profile], list[str]]:
    """All profiles, built-in ones included, and what is wrong.

    `tables` is the table `profiles` of the configuration file `path`; `more` the file that it names for further ones.
    """
    own: Mapping[str, Any] = tables if isinstance(tables, Mapping) else {}
    problems = [] if own is tables else [f"{path}: [profiles] must hold tables only, as in [profiles.web]"]
    others, found = _others(more)
    problems += found
    problems += [
        f"{more}: [profiles.{name}] is in {path} already: remove one of them" for name in own if name in others
    ]
    profiles, mistakes = read_profiles({**own, **others})
    return profiles, problems + [f"{_file(each, path, more, others)}: {_where(each)}" for each in mistakes]


def profiles_alone(path: Path, tables: Mapping[str, Any]) -> tuple[Mapping[str, Profile], list[str]]:
    """As `configured_profiles`, of a file `path` like those that `profiles_file` in [ca] names."""
    profiles, problems = configured_profiles(path, tables.get("profiles", {}), None)
    return profiles, _strange(path, tables) + problems


def _others(more: Path | None) -> tuple[Mapping[str, Any], list[str]]:
    if more is None:
        return {}, []
    try:
        tables = read_toml(more)
    except FileUnreadable as error:
        return {}, [str(error)]
    strange = _strange(more, tables)
    found = tables.get("profiles", {})
    if not isinstance(found, Mapping):
        return {}, [*strange, f"{more}: [profiles] must hold tables only, as in [profiles.web]"]
    return found, strange


def _strange(path: Path, tables: Mapping[str, Any]) -> list[str]:
    names = (name for name in tables if name != "profiles")
    return [f"{path}: [{name}] does not belong here: this file holds [profiles.NAME] alone" for name in names]


def _file(problem: Problem, path: Path, more: Path | None, others: Mapping[str, Any]) -> Path:
    of_other = len(problem.place) > 1 and problem.place[1] in others
    return more if of_other and more is not None else path


def _where(problem: Problem) -> str:
    *tables, key = problem.place
    if len(problem.place) <= 2:
        return f"[{'.'.join(problem.place)}] {problem.text}"
    return f"[{'.'.join(tables)}] {key}: {problem.text}"
