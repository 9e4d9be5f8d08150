"""Server reflection that knows methods by name, too.

The reflection protocol wants the file of any symbol, `package.Service.Method` among them; protobuf's pool does not find
methods. grpcurl's `describe` asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection

SERVICE_NAME: str = reflection.SERVICE_NAME


class _SymbolPool:
    """The default descriptor pool, and the methods of its services."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  (protobuf's name)
        """The file that declares a symbol. Raises KeyError."""
        try:
            found: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            parent, _, member = symbol.rpartition(".")
            service = self._pool.FindServiceByName(parent)
            if member not in service.methods_by_name:
                raise
            found = service.file
        return found


def enable_reflection(names: Iterable[str], server: grpc.aio.Server) -> None:
    """Serve reflection for the services of these names, itself included if it is among them."""
    pool: Any = _SymbolPool()
    reflection.enable_server_reflection(tuple(names), server, pool=pool)
