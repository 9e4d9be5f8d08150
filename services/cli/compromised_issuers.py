"""What a certificate's own record does not tell: that its issuer is compromised, and answers about it are `revoked`."""

from __future__ import annotations

from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from services.cli import output
from services.cli.client import Client


class CompromisedIssuers:
    """The compromised issuers, as they were when this was made."""

    def __init__(self, ca: Client) -> None:
        """Raises Failed."""
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        issuers = ca.call(stub.ListIssuers, ca_pb2.ListIssuersRequest()).issuers
        self._names = frozenset(issuer.name for issuer in issuers if issuer.HasField("compromise"))

    def mark(self, certificate: output.Json) -> output.Json:
        """A certificate as JSON, with whether its issuer is one of them."""
        return {**certificate, "issuer_compromised": certificate["issuer"] in self._names}
