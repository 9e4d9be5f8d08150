"""HTTP as bytes on a socket, and OCSP as values of an independent implementation (asn1crypto).

Nothing here is shared with the gateway: what it gets wrong, this must not get wrong in the same way.
"""

from __future__ import annotations

import hashlib
import socket
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from asn1crypto import algos, core, ocsp, pem, x509

JSON = dict[str, Any]
OCSP_REQUEST = "application/ocsp-request"
TIMEOUT = 15.0


@dataclass(frozen=True)
class Reply:
    """One HTTP response, as it came."""

    status: int
    version: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in order."""
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that may be there once."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def ocsp_status(self) -> str:
        """The OCSPResponseStatus: successful, malformed_request, unauthorized and so on."""
        assert self.status == 200, f"HTTP {self.status}: {self.body[:200]!r}"
        assert self.header("content-type") == "application/ocsp-response"
        return str(ocsp.OCSPResponse.load(self.body, strict=True)["response_status"].native)

    @property
    def answer(self) -> Answer:
        """The answer, which must be successful."""
        assert self.ocsp_status == "successful", self.ocsp_status
        return Answer(self.body)


class Answer:
    """A successful OCSPResponse, taken apart."""

    def __init__(self, body: bytes) -> None:
        self.der = body
        self.response = ocsp.OCSPResponse.load(body, strict=True)
        self.basic = self.response["response_bytes"]["response"].parsed
        self.data = self.basic["tbs_response_data"]
        self.singles = list(self.data["responses"])

    @property
    def single(self) -> Any:
        """The one SingleResponse."""
        assert len(self.singles) == 1
        return self.singles[0]

    @property
    def status(self) -> str:
        """good, revoked or unknown, of the one SingleResponse."""
        return self.status_of(0)

    def status_of(self, index: int) -> str:
        """good, revoked or unknown, of one of several."""
        return str(self.singles[index]["cert_status"].name)

    @property
    def revocation(self) -> tuple[datetime, str | None]:
        """Revocation time and reason (asn1crypto's names; None where the field is absent)."""
        info = self.single["cert_status"].chosen
        reason = info["revocation_reason"]
        return info["revocation_time"].native, None if isinstance(reason, core.Void) else reason.native

    @property
    def produced_at(self) -> datetime:
        return self.data["produced_at"].native  # type: ignore[no-any-return]

    @property
    def this_update(self) -> datetime:
        return self.single["this_update"].native  # type: ignore[no-any-return]

    @property
    def next_update(self) -> datetime:
        return self.single["next_update"].native  # type: ignore[no-any-return]

    @property
    def certificates(self) -> list[x509.Certificate]:
        """The enclosed certificates."""
        return list(self.basic["certs"] or [])

    @property
    def signature_algorithm(self) -> str:
        """Dotted OID of the algorithm of the answer's signature."""
        return str(self.basic["signature_algorithm"]["algorithm"].dotted)

    def extension(self, oid: str) -> tuple[bool, bytes] | None:
        """Criticality and extnValue of a responseExtension."""
        return _extension(self.data["response_extensions"], oid)

    def single_extension(self, oid: str, index: int = 0) -> tuple[bool, bytes] | None:
        """Criticality and extnValue of a singleExtension."""
        return _extension(self.singles[index]["single_extensions"], oid)

    @property
    def nonce(self) -> bytes | None:
        """The extnValue of the nonce: the OCTET STRING with tag and length."""
        found = self.extension(NONCE)
        return found[1] if found else None


NONCE = "1.3.6.1.5.5.7.48.1.2"


def _extension(extensions: Any, oid: str) -> tuple[bool, bytes] | None:
    if isinstance(extensions, core.Void):
        return None
    found = [each for each in extensions if each["extn_id"].dotted == oid]
    assert len(found) < 2
    return (bool(found[0]["critical"].native), found[0]["extn_value"].contents) if found else None


def load_certificate(file: Path | bytes) -> x509.Certificate:
    """A certificate from PEM."""
    content = file if isinstance(file, bytes) else file.read_bytes()
    return x509.Certificate.load(pem.unarmor(content)[2])


def cert_id(
    issuer: x509.Certificate,
    serial: int,
    *,
    hash_algorithm: str = "sha1",
    null_parameters: bool = True,
    name: x509.Certificate | None = None,
) -> bytes:
    """The DER of a CertID. `name`: take the name hash from another certificate than the key hash."""

    def digest(content: bytes) -> bytes:
        return hashlib.new(hash_algorithm, content).digest()

    # Put together by hand, because asn1crypto's DigestAlgorithm adds NULL parameters where there are none.
    algorithm = tlv(0x30, algos.DigestAlgorithmId(hash_algorithm).dump(), b"\x05\x00" if null_parameters else b"")
    return tlv(
        0x30,
        algorithm,
        tlv(0x04, digest((name or issuer).subject.dump())),
        tlv(0x04, digest(bytes(issuer.public_key["public_key"]))),
        core.Integer(serial).dump(),
    )


def tlv(tag: int, *content: bytes) -> bytes:
    """DER of a tag, the length, and the content, for whatever no library would write."""
    joined = b"".join(content)
    size = len(joined)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )
    return bytes([tag]) + length + joined


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """The DER of an Extension."""
    identifier = core.ObjectIdentifier(oid).dump()
    return tlv(0x30, identifier, b"\x01\x01\xff" if critical else b"", tlv(0x04, value))


def nonce(value: bytes, *, critical: bool = False) -> bytes:
    """A nonce extension, wrapped as RFC 6960 has it."""
    return extension(NONCE, tlv(0x04, value), critical=critical)


def request(
    *cert_ids: bytes,
    extensions: Sequence[bytes] = (),
    single_extensions: Sequence[bytes] = (),
    requestor_name: bytes = b"",
    version: bytes = b"",
) -> bytes:
    """The DER of an OCSPRequest. Extensions are DER; `single_extensions` go into every Request.

    `requestor_name`: DER of a GeneralName; `version`: DER of an INTEGER.
    """
    return tlv(
        0x30,
        tbs_request(
            *cert_ids,
            extensions=extensions,
            single_extensions=single_extensions,
            requestor_name=requestor_name,
            version=version,
        ),
    )


def tbs_request(
    *cert_ids: bytes,
    extensions: Sequence[bytes] = (),
    single_extensions: Sequence[bytes] = (),
    requestor_name: bytes = b"",
    version: bytes = b"",
) -> bytes:
    """The DER of a TBSRequest: what a signature is over."""
    more = tlv(0xA0, tlv(0x30, *single_extensions)) if single_extensions else b""
    return tlv(
        0x30,
        tlv(0xA0, version) if version else b"",
        tlv(0xA1, requestor_name) if requestor_name else b"",
        tlv(0x30, *[tlv(0x30, each, more) for each in cert_ids]),
        tlv(0xA2, tlv(0x30, *extensions)) if extensions else b"",
    )


class Responder:
    """An OCSP responder at HOST:PORT. `heard` collects the body of every successful answer, to be linted."""

    heard: ClassVar[list[bytes]] = []

    def __init__(self, address: str, path: str = "/") -> None:
        self.address = address
        self.path = path

    @property
    def url(self) -> str:
        """Its URL, as it would stand in certificates."""
        return f"http://{self.address}{self.path.rstrip('/')}"

    def post(self, der: bytes, path: str | None = None, **headers: str) -> Reply:
        """POST a request. Header names are given with _ for -."""
        sent = {"content-type": OCSP_REQUEST, "content-length": str(len(der))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", path or self.path, sent, der)

    def get(self, der: bytes, *, method: str = "GET", **headers: str) -> Reply:
        """GET a request in the fully escaped spelling."""
        path = self.path.rstrip("/") + "/" + quote(b64encode(der).decode(), safe="")
        return self.send(method, path, {name.replace("_", "-"): value for name, value in headers.items()})

    def send(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Reply:
        """One request on a connection of its own, with exactly these headers beside Host and Connection."""
        lines = {"host": self.address, "connection": "close", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.exchange(
            f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body, head=method == "HEAD"
        )

    def exchange(self, raw: bytes, *, head: bool = False) -> Reply:
        """Send these bytes, and read one response until its end (`head`: it has no body)."""
        host, port = self.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), TIMEOUT) as sock:
            sock.sendall(raw)
            with sock.makefile("rb") as stream:
                reply = read_reply(stream, head=head)
        self.hear(reply)
        return reply

    @classmethod
    def hear(cls, reply: Reply) -> None:
        """Keep the answer in a reply for the linter."""
        if len(reply.body) > 5 and reply.header("content-type") == "application/ocsp-response":
            cls.heard.append(reply.body)


def read_reply(stream: Any, *, head: bool = False) -> Reply:
    """Read one HTTP response from a binary stream."""
    line = stream.readline().decode("latin-1")
    assert line.startswith("HTTP/1."), f"no HTTP response: {line!r}"
    version, status, *_ = line.split(" ", 2)
    headers = []
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip()))
    lengths = [value for name, value in headers if name == "content-length"]
    if head or int(status) == 304 or int(status) < 200:
        body = b""
    elif lengths:
        body = stream.read(int(lengths[0]))
        assert len(body) == int(lengths[0]), "the body is shorter than its Content-Length"
    else:
        body = stream.read()
    return Reply(int(status), version, tuple(headers), body)
