"""A gRPC server without methods of its own, for tests that need a whole process: ROOT CERTIFICATE KEY."""

from __future__ import annotations

import sys

from services.logs import configure_logging

configure_logging("tiny")

import asyncio  # noqa: E402
from pathlib import Path  # noqa: E402

from services.clock import utc_now  # noqa: E402
from services.rpc.identity import Authenticator  # noqa: E402
from services.rpc.lifecycle import serve_until_signal  # noqa: E402
from services.rpc.server import TlsFiles, build_server  # noqa: E402


async def main() -> None:
    """Serve until SIGTERM."""
    root, certificate, key = (Path(name) for name in sys.argv[1:])
    server = build_server(
        listen="127.0.0.1:0",
        tls=TlsFiles(root, certificate, key),
        services={},
        authenticator=Authenticator(trust_domain="goodstanding", is_denied=lambda _: False, clock=utc_now),
    )
    await serve_until_signal(server)


asyncio.run(main())
