"""What is wrong with a value in a configuration, in the words of those who write it, and not in the library's.

Pure: it knows pydantic's kinds of errors and nothing of what is configured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

_TOLD = {
    "bool_parsing": "must be true or false, without quotes",
    "bool_type": "must be true or false, without quotes",
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "extra_forbidden": "is not a setting; look for a spelling mistake",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "frozen_set_type": "must be a list, in brackets",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number, without quotes",
    "list_type": "must be a list, in brackets",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be a path, in quotes",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_type": "must be text, in quotes",
    "tuple_type": "must be a list, in brackets",
}
_BOUNDS = frozenset({"greater_than_equal", "less_than_equal"})
_OF_NUMBERS = _BOUNDS | {"int_from_float", "int_parsing", "int_type", "float_parsing", "float_type"}
_OF_WORDS = frozenset({"bool_parsing", "bool_type", "enum", "literal_error"})
_LONGEST = 60


def told(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """What is allowed where pydantic found an error (an element of `ValidationError.errors()`) in a `model`."""
    kind = str(error["type"])
    if kind in _OF_NUMBERS and (bounds := _bounds(model, error["loc"])):
        return f"must be a whole number from {bounds[0]} to {bounds[1]}"
    if kind in _BOUNDS:
        bound = error["ctx"]
        return f"must be {bound['ge']} or more" if "ge" in bound else f"must be {bound['le']} or less"
    if kind in _TOLD:
        return _TOLD[kind].format(**error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Value error, ")


def is_secret_free(error: Mapping[str, Any]) -> bool:
    """Whether a number or one of a few words was wanted: then what was given is no password."""
    return error["type"] in _OF_NUMBERS | _OF_WORDS


def has_value(error: Mapping[str, Any]) -> bool:
    """Whether it is a value that is wrong, and not a key."""
    return error["type"] not in ("extra_forbidden", "missing") and "[key]" not in error["loc"]


def shown(value: object) -> str:
    """A value as a configuration would have it, cut to some length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _bounds(model: type[BaseModel], place: Sequence[int | str]) -> tuple[int, int] | None:
    """From where to where a whole number may be."""
    fields: Mapping[str, Any] = model.model_fields
    *tables, key = map(str, place)
    for table in tables:
        within = fields[table].annotation if table in fields else None
        if not (isinstance(within, type) and issubclass(within, BaseModel)):
            return None
        fields = within.model_fields
    limits: dict[str, Any] = {}
    for each in fields[key].metadata if key in fields else ():
        limits |= {bound: getattr(each, bound) for bound in ("ge", "le") if hasattr(each, bound)}
    return (limits["ge"], limits["le"]) if limits.keys() == {"ge", "le"} else None
