"""Why there is no connection: from the client's own certificate, and from a plain TLS connection made to find out."""

from __future__ import annotations

import queue
import socket
import ssl
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.addresses import parse_address

# The connection gives up a little before we do, and says more.
_MARGIN = 0.1
_RENEW = "renew it: goodstanding credential renew"
_NEW = "make a new one: goodstanding credential new"


def certificate_problem(ca_pem: bytes, cert_pem: bytes, now: datetime) -> str | None:
    """What a server of that root will not like about a client certificate, as far as the certificate itself tells."""
    try:
        certificate = x509.load_pem_x509_certificates(cert_pem)[0]
        roots = x509.load_pem_x509_certificates(ca_pem)
    except ValueError:
        return "the client certificate or the root certificate is not in PEM"
    if now > certificate.not_valid_after_utc:
        return f"the client certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC; {_RENEW}"
    if now < certificate.not_valid_before_utc:
        start = certificate.not_valid_before_utc
        return f"the client certificate is not valid before {start:%Y-%m-%d %H:%M:%S} UTC; set this machine's clock"
    if not any(_is_issued_by(certificate, root) for root in roots):
        return f"the client certificate is not of the root it is used with; name the matching files, or {_NEW}"
    if not _is_for_clients(certificate):
        return f"the client certificate is not for clients (extended key usage); {_NEW}"
    return None


def connection_problem(address: str, ca_pem: bytes, cert_pem: bytes, key_pem: bytes, within: float) -> str | None:
    """What a TLS connection to `address` (HOST:PORT) runs into; None if it comes about.

    It takes `within` seconds at the most, although to resolve a name may take longer, and cannot be ended.
    """
    try:
        host, port = parse_address(address)
        context = _context(ca_pem, cert_pem, key_pem)
    except ValueError as error:  # ssl.SSLError is one
        return f"{address}: {error}"
    until = time.monotonic() + within
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def look() -> None:
        found.put(_problem(address, host, port, context, until - _MARGIN))

    threading.Thread(target=look, name="probe", daemon=True).start()
    try:
        return found.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        return f"{address} does not answer; check the address, and that no firewall is in between"


def _problem(address: str, host: str, port: int, context: ssl.SSLContext, until: float) -> str | None:
    try:
        with socket.create_connection((host, port), _left(until)) as plain:
            return _handshake_problem(plain, host, address, context, until)
    except ConnectionRefusedError:
        return f"nothing listens on {address}; start the service (goodstanding up), or check the address"
    except socket.gaierror as error:
        return f"{address}: the host name cannot be resolved ({error.strerror}); check the address"
    except TimeoutError:
        return f"{address} does not answer; check the address, and that no firewall is in between"
    except OSError as error:
        return f"{address} cannot be reached: {error.strerror or error}"


def _handshake_problem(
    plain: socket.socket, host: str, address: str, context: ssl.SSLContext, until: float
) -> str | None:
    try:
        plain.settimeout(_left(until))
        with context.wrap_socket(plain, server_hostname=host) as secured:
            secured.settimeout(_left(until))
            # In TLS 1.3 a server looks at the client's certificate when the client is done: the refusal is read here.
            if secured.recv(1):
                return None
    except ssl.SSLCertVerificationError as error:
        return (
            f"the certificate of the server at {address} is not accepted: {error.verify_message}; "
            "check that the address and the root certificate belong to the same installation"
        )
    except TimeoutError:
        return f"{address} does not answer in TLS; check that a goodstanding service listens there"
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return _refused(address)
        return f"{address} does not talk TLS; check that a goodstanding service listens there"
    except ConnectionResetError:
        return _refused(address)
    return _refused(address)


def _left(until: float) -> float:
    return max(0.01, until - time.monotonic())


def _refused(address: str) -> str:
    return (
        f"the server at {address} does not accept the client certificate; its log says why "
        '("tls handshake failed"); use a credential of that installation'
    )


def _context(ca_pem: bytes, cert_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca_pem.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    # The ssl module reads certificate and key from a file alone; the folder is ours only, and gone at once.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "credential.pem")
        path.touch(mode=0o600)
        path.write_bytes(key_pem.rstrip() + b"\n" + cert_pem)
        context.load_cert_chain(path)
    return context


def _is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages
