"""Errors cross gRPC once, with details; docs/errors.md lists every reason."""

from __future__ import annotations

import ast
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import services
from goodstanding.ca.v1 import ca_pb2_grpc
from services import errors
from services.errors import DomainError, FieldViolation, InvalidArgument, Unavailable
from services.rpc.client import explain
from services.rpc.errors import CODES, code_of, to_status

from .conftest import Authority, Start, get

SOURCE = Path(services.__file__).parent
DOCUMENT = SOURCE.parent / "docs" / "errors.md"
# Classes outside services.errors that end in one of its errors, and what they become.
REFINED = {"Conflict": "Unavailable", "KeyUnusable": "FailedPrecondition", "_Wrong": "InvalidArgument"}


def documented() -> dict[str, set[str]]:
    """Reason -> status codes, from the tables."""
    rows = re.findall(
        r"^\| ([A-Z][A-Z_]+) \| ([A-Z_, ]+) \| \S.* \| \S.* \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    return {reason: set(codes.split(", ")) for reason, codes in rows}


def raised() -> Iterator[tuple[str, str, str]]:
    """(file and line, reason, status code) of every error that is made in the services."""
    codes = {kind.__name__: code.name for kind, code in CODES.items()}
    codes |= {name: codes[base] for name, base in REFINED.items()}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in codes and node.args:
                first = node.args[0]
                value = constants.get(first.id, first) if isinstance(first, ast.Name) else first
                if isinstance(value, ast.Constant):
                    yield f"{path}:{node.lineno}", str(value.value), codes[node.func.id]


def test_every_reason_is_documented_with_its_status() -> None:
    """Whoever adds a reason adds a line to the table; a stale status is found as well."""
    table = documented()
    missing = [each for each in raised() if each[2] not in table.get(each[1], set())]
    assert not missing, f"not in docs/errors.md: {missing}"
    assert len({reason for _, reason, _ in raised()}) > 40  # or the search is broken


def test_every_domain_error_has_one_status_code() -> None:
    """No class of services.errors falls through the table, and a refined one keeps the code of its base."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, DomainError)]
    assert {kind for kind in kinds if kind is not DomainError} == set(CODES)

    class Refined(Unavailable):
        pass

    assert code_of(Refined("X", "x")) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.asyncio
async def test_details_reach_the_client(start: Start, authority: Authority) -> None:
    """ErrorInfo and BadRequest arrive, and the command shows them, a line for each further field."""
    cases = {
        "not-found": "never issued here [CERTIFICATE_UNKNOWN]",
        "invalid": "not hex [SERIAL_INVALID] (field issuer_and_serial_number.serial_number)",
        "two": "first [X_Y] (field a)\n  field b[1]: second half [Z_Z]",
    }
    async with start() as running, running.channel(authority.client()) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        for case, line in cases.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetCertificate(get(case), timeout=5)
            assert explain(caught.value) == line
        info = error_details_pb2.ErrorInfo()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCertificate(get("not-found"), timeout=5)
        rpc_status.from_call(caught.value).details[0].Unpack(info)  # type: ignore[arg-type]
        assert (info.domain, dict(info.metadata)) == ("goodstanding", {"serial": "01"})


@pytest.mark.asyncio
async def test_long_errors_still_arrive(start: Start, authority: Authority) -> None:
    """A hundred violations are cut down to what fits into the trailers that clients accept."""
    async with start() as running, running.channel(authority.client()) as channel:
        stub: Any = ca_pb2_grpc.CertificateAuthorityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCertificate(get("many"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = explain(caught.value)
    assert "[NAME_INVALID]" in told
    assert told.endswith(f"and {100 - told.count('xxx…')} more [NAME_INVALID]")


@pytest.mark.parametrize("text", ["y", "ü", "%", "🙂"])
@pytest.mark.parametrize("length", [1, 60, 300])
@pytest.mark.parametrize("count", [1, 5, 100])
def test_violations_fit_into_trailers(text: str, length: int, count: int) -> None:
    """As many as clients can read, and how many more there are; all of them where these are few."""
    given = [FieldViolation(f"names.dns_names[{n}]", "X_Y", text * length) for n in range(count)]
    status = to_status(InvalidArgument("X_Y", text * length, violations=given))
    assert len(b64encode(status.SerializeToString())) + len(quote(status.message, safe=" ")) < (7 << 10)
    found = error_details_pb2.BadRequest()
    status.details[1].Unpack(found)
    told = found.field_violations
    if len(told) == count:
        assert all(each.description == text * length for each in told)
        return
    assert count == 100 or length == 300
    last = told.pop()
    assert (last.field, last.reason, last.description) == ("names.dns_names", "X_Y", f"and {count - len(told)} more")


def test_text_that_is_no_unicode_does_not_break_the_answer() -> None:
    """A lone surrogate in a message or field is replaced; protobuf would refuse it."""
    error = InvalidArgument("X_Y", "bad \udcff", violations=[FieldViolation("f\udcff", "X_Y", "d\udcff")])
    assert to_status(error).message == "bad ?"
