"""The gRPC face of the hierarchy: the methods that change issuers, as a part of the one servicer."""

from __future__ import annotations

import hashlib

import grpc

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from goodstanding.types.v1 import types_pb2
from services.ca.authority import CertificateAuthority
from services.ca.bridge import Bridge
from services.ca.hierarchy import ImportCommand
from services.db.records import IssuerState
from services.errors import InvalidArgument
from services.rpc import messages
from services.rpc.identity import current_caller
from services.rpc.refusals import CallObject, describe_call

_STATES = {
    types_pb2.ISSUER_STATE_ACTIVE: IssuerState.ACTIVE,
    types_pb2.ISSUER_STATE_RETIRED: IssuerState.RETIRED,
    types_pb2.ISSUER_STATE_OFFLINE: IssuerState.OFFLINE,
}


class IssuerMethods(ca_pb2_grpc.CertificateAuthorityServiceServicer):
    """ImportIssuer, UpdateIssuer and ImportCertificateRevocationList."""

    _authority: CertificateAuthority
    _bridge: Bridge

    async def ImportIssuer(
        self,
        request: ca_pb2.ImportIssuerRequest,
        context: grpc.aio.ServicerContext[ca_pb2.ImportIssuerRequest, ca_pb2.ImportIssuerResponse],
    ) -> ca_pb2.ImportIssuerResponse:
        """Record an issuer, or further certificates of one."""
        describe_call(lambda: _import_object(request))
        actor = current_caller().actor("")
        command = ImportCommand(
            name=request.name,
            certificates_der=tuple(request.certificates_der),
            key_ref=request.key_reference or None,
            retired_issuers=tuple(request.retired_issuers),
            retired=request.retired,
            validate_only=request.validate_only,
        )
        done = await self._bridge.run(lambda: self._authority.hierarchy.begin_import(command, actor))
        issuer = messages.issuer_message(done.issuer) if done.issuer else None
        return ca_pb2.ImportIssuerResponse(issuer=issuer, added_certificates=done.added)

    async def UpdateIssuer(
        self,
        request: ca_pb2.UpdateIssuerRequest,
        context: grpc.aio.ServicerContext[ca_pb2.UpdateIssuerRequest, ca_pb2.UpdateIssuerResponse],
    ) -> ca_pb2.UpdateIssuerResponse:
        """Retire an issuer, make it active, or take it offline."""
        state = _STATES.get(request.state)
        describe_call(lambda: CallObject(issuer=request.name, details={"state": state.value} if state else None))
        if state is None:
            raise InvalidArgument("STATE_INVALID", "an issuer is made active, retired or offline", field="state")
        actor = current_caller().actor("")
        record = await self._bridge.run(lambda: self._authority.hierarchy.begin_update(request.name, state, actor))
        return ca_pb2.UpdateIssuerResponse(issuer=messages.issuer_message(record))

    async def ImportCertificateRevocationList(
        self,
        request: ca_pb2.ImportCertificateRevocationListRequest,
        context: grpc.aio.ServicerContext[
            ca_pb2.ImportCertificateRevocationListRequest, ca_pb2.ImportCertificateRevocationListResponse
        ],
    ) -> ca_pb2.ImportCertificateRevocationListResponse:
        """Record a list of an issuer whose key is kept offline."""
        describe_call(lambda: CallObject(issuer=request.issuer, details=_crl_details(request.crl_der)))
        begin, actor = self._authority.foreign_crls.begin, current_caller().actor("")
        number = await self._bridge.run(lambda: begin(request.issuer, request.crl_der, actor))
        return ca_pb2.ImportCertificateRevocationListResponse(number=format(number, "x"))


def _import_object(request: ca_pb2.ImportIssuerRequest) -> CallObject:
    """What the audit log says of an issuer that was kept out."""
    found = [hashlib.sha256(each).hexdigest() for each in request.certificates_der[:10]]
    asked = {"certificates_sha256": found, "key_reference": request.key_reference}
    details = {name: value for name, value in asked.items() if value}
    return CallObject(issuer=request.name, details=details, dry_run=request.validate_only)


def _crl_details(der: bytes) -> dict[str, str]:
    return {"crl_sha256": hashlib.sha256(der).hexdigest()}
