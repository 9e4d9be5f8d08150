"""Requests to list certificates as plain values. Reading one raises nothing but InvalidArgument, with its field."""

from __future__ import annotations

import re
from collections.abc import Sequence

from goodstanding.ca.v1 import ca_pb2
from services.ca.find import ListQuery
from services.clock import from_epoch
from services.db.records import CertificateCursor, CertificateOrder
from services.errors import InvalidArgument
from services.rpc import paging, requests

_PREFIX = re.compile(r"[0-9a-f]{4,40}")
_ORDERS = {
    ca_pb2.CERTIFICATE_ORDER_UNSPECIFIED: CertificateOrder.ISSUED,
    ca_pb2.CERTIFICATE_ORDER_ISSUE_TIME: CertificateOrder.ISSUED,
    ca_pb2.CERTIFICATE_ORDER_NOT_AFTER_TIME: CertificateOrder.EXPIRING,
}


def read_list_query(request: ca_pb2.ListCertificatesRequest) -> tuple[ListQuery, Sequence[str]]:
    """The query, and the filters that its page tokens are bound to.

    Raises InvalidArgument NAME_INVALID, STATE_INVALID, TIME_INVALID, REASON_NOT_ALLOWED, SERIAL_INVALID,
    FILTER_INVALID, PAGE_TOKEN_INVALID, PAGE_SIZE_INVALID.
    """
    for field, value in (("profile", request.profile), ("name", request.name), ("identity", request.identity)):
        if "\0" in value:  # PostgreSQL cannot even be asked for it
            raise InvalidArgument("NAME_INVALID", "no name holds a NUL", field=field)
    query = ListQuery(
        page_size=paging.page_size(request.page_size),
        order=_order(request.order),
        issuer=request.issuer,
        state=requests.read_state(request.state),
        profile=request.profile,
        name=request.name,
        not_after_from=requests.read_optional_time(request, "not_after_from_time"),
        not_after_until=requests.read_optional_time(request, "not_after_until_time"),
        issued_from=requests.read_optional_time(request, "issue_from_time"),
        issued_until=requests.read_optional_time(request, "issue_until_time"),
        reason=requests.read_reason(request.reason) if request.HasField("reason") else None,
        serial_prefix=_prefix(request.serial_number_prefix),
        public_key_sha256=_key_hash(request.public_key_sha256),
        identity=request.identity,
    )
    filters = _filters(query)
    cursor = paging.decode_token(request.page_token, filters)
    return (query if cursor is None else query.behind(_cursor(cursor))), filters


def _filters(query: ListQuery) -> Sequence[str]:
    return (
        query.issuer,
        query.state or "",
        query.profile,
        query.name.lower(),
        str(query.not_after_from or ""),
        str(query.not_after_until or ""),
        str(query.issued_from or ""),
        str(query.issued_until or ""),
        "" if query.reason is None else str(query.reason),
        query.serial_prefix,
        query.public_key_sha256.hex(),
        query.identity,
        query.order,
    )


def _order(value: int) -> CertificateOrder:
    if value not in _ORDERS:
        raise InvalidArgument("FILTER_INVALID", f"{value} is not an order of certificates", field="order")
    return _ORDERS[ca_pb2.CertificateOrder.ValueType(value)]


def _prefix(text: str) -> str:
    plain = text.lower().removeprefix("0x").replace(":", "")
    if text and not _PREFIX.fullmatch(plain):
        raise InvalidArgument(
            "SERIAL_INVALID", "give the first 4 to 40 hex digits of serial numbers", field="serial_number_prefix"
        )
    return plain


def _key_hash(value: bytes) -> bytes:
    if len(value) not in (0, 32):
        raise InvalidArgument("FILTER_INVALID", "a SHA-256 has 32 octets", field="public_key_sha256")
    return value


def _cursor(values: Sequence[int]) -> CertificateCursor:
    try:
        return CertificateCursor(from_epoch(values[0]), values[1])
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(
            "PAGE_TOKEN_INVALID", "page_token is not a next_page_token of this service", field="page_token"
        ) from None
