"""Where an OCSP request is broken: for explanations, of requests that `parse_request` has refused.

That function alone decides what is refused; it is quick, and does not know where. This walks the structure of RFC 6960,
section 4.1.1, and names the first part that is not there or is something else. Pure.
"""

from __future__ import annotations

from gateway.ocsp.cursor import Cursor, Unreadable
from gateway.ocsp.der import NotDer, check_der
from gateway.ocsp.request import MalformedRequest

_SEQUENCE, _OCTETS, _INTEGER, _OID, _BOOLEAN, _BITS = 0x30, 0x04, 0x02, 0x06, 0x01, 0x03


def what_is_wrong(der: bytes, refused: MalformedRequest) -> str:
    """Why octets were refused, with the part and the place if those can be told."""
    if not der:
        return "it is empty"
    if refused.__cause__ is None:
        return str(refused)
    try:
        _walk(Cursor(der))
        check_der(der)
    except Unreadable as error:
        return f"{refused}: {error}"
    except NotDer as error:
        return f"{refused}: {error}"
    return f"{refused}: {refused.__cause__}"


def _walk(whole: Cursor) -> None:
    fields = whole.take("OCSPRequest", _SEQUENCE).inside("OCSPRequest")
    whole.finish("OCSPRequest")
    _tbs(fields.take("tbsRequest", _SEQUENCE).inside("tbsRequest"))
    if not fields.at_end():
        signature = _inner(fields, "optionalSignature", 0xA0)
        signature.take("optionalSignature.signatureAlgorithm", _SEQUENCE)
        signature.take("optionalSignature.signature", _BITS)
        if not signature.at_end():
            signature.take("optionalSignature.certs", 0xA0)
        signature.finish("optionalSignature")
    fields.finish("OCSPRequest")


def _tbs(fields: Cursor) -> None:
    if fields.tag() == 0xA0:
        raise Unreadable("version", "v1 is spelled out, which DER does not allow for a DEFAULT; or it is another one")
    if fields.tag() == 0xA1:
        fields.take("requestorName", 0xA1)
    requests = fields.take("requestList", _SEQUENCE).inside("requestList")
    if requests.at_end():
        raise Unreadable("requestList", "empty: it asks about no certificate")
    for index, request in enumerate(requests.each("requestList", _SEQUENCE)):
        part = f"requestList[{index}]"
        inner = request.inside(part)
        _cert_id(inner.take(f"{part}.reqCert", _SEQUENCE).inside(part), f"{part}.reqCert")
        _extensions(inner, 0xA0, f"{part}.singleRequestExtensions")
        inner.finish(part)
    _extensions(fields, 0xA2, "requestExtensions")
    fields.finish("tbsRequest")


def _cert_id(fields: Cursor, part: str) -> None:
    algorithm = fields.take(f"{part}.hashAlgorithm", _SEQUENCE).inside(part)
    algorithm.take(f"{part}.hashAlgorithm.algorithm", _OID)
    if not algorithm.at_end():
        algorithm.take(f"{part}.hashAlgorithm.parameters")
    algorithm.finish(f"{part}.hashAlgorithm")
    fields.take(f"{part}.issuerNameHash", _OCTETS)
    fields.take(f"{part}.issuerKeyHash", _OCTETS)
    fields.take(f"{part}.serialNumber", _INTEGER)
    fields.finish(part)


def _extensions(fields: Cursor, tag: int, part: str) -> None:
    if fields.tag() != tag:
        return
    outer = fields.take(part, tag).inside(part)
    extensions = outer.take(part, _SEQUENCE).inside(part)
    outer.finish(part)
    for index, extension in enumerate(extensions.each(part, _SEQUENCE)):
        inner = extension.inside(f"{part}[{index}]")
        inner.take(f"{part}[{index}].extnID", _OID)
        if inner.tag() == _BOOLEAN and inner.take(f"{part}[{index}].critical", _BOOLEAN).content != b"\xff":
            raise Unreadable(f"{part}[{index}].critical", "FALSE is spelled out, or TRUE is not ff")
        inner.take(f"{part}[{index}].extnValue", _OCTETS)
        inner.finish(f"{part}[{index}]")


def _inner(fields: Cursor, part: str, tag: int) -> Cursor:
    """What is in an explicit tag: one SEQUENCE."""
    outer = fields.take(part, tag).inside(part)
    inner = outer.take(part, _SEQUENCE).inside(part)
    outer.finish(part)
    return inner
