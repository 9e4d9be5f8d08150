"""What is wrong with a setting, in the words of those who write configurations, and not in the library's."""

from __future__ import annotations

import json

from pydantic_core import ErrorDetails

_TOLD = {
    "bool_parsing": "must be true or false, without quotes",
    "bool_type": "must be true or false, without quotes",
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "extra_forbidden": "is not a setting; look for a spelling mistake",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be {ge} or more",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than_equal": "must be {le} or less",
    "missing": "is missing",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be a path, in quotes",
    "string_type": "must be text, in quotes",
    "too_short": "must not be empty",
    "tuple_type": "must be a list, in brackets",
}
_WITH_VALUE = ("bool_", "enum", "float_", "greater_", "int_", "less_")
"""Where a number or one of a few words was wanted, what was given is no password."""


def told(error: ErrorDetails) -> str:
    """What is allowed, and what was given."""
    kind = error["type"]
    if kind not in _TOLD:
        return error["msg"].removeprefix("Value error, ")
    text = _TOLD[kind].format(**error.get("ctx", {}))
    if not kind.startswith(_WITH_VALUE):
        return text
    return f"{text}; it is {json.dumps(error['input'], ensure_ascii=False, default=str)[:60]}"
