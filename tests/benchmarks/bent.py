"""A responder that can be bent: it says whatever a test wants, one `?` a request."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from benchmarks.nginx import stand_in

BODY = stand_in(400)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@contextlib.contextmanager
def responder(answer: Callable[[int], bytes], *, close: bool) -> Iterator[str]:
    """Answers every request, whatever it asks, with `answer(number of the request in what was read)`: its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while received := sock.recv(1 << 16):
                for number in range(received.count(b"?")):
                    sock.sendall(answer(number))
                if close:
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
