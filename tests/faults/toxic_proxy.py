"""A proxy before a server that does to its wire what networks do. One thread a direction, on the loopback alone."""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK = 65_536


@dataclass
class Toxics:
    """What is wrong with the wire now; change it at any time."""

    latency_seconds: float = 0.0
    """Before each chunk of an answer."""
    slice_bytes: int = CHUNK
    """Answers come in pieces of this size."""
    replies_to_drop: int = 0
    """So many answers are swallowed, and their connections reset: what was asked for has been done."""
    answers_before_drop: int = 0
    """So many come through before that."""
    resets_every: int = 0
    """Every so many-th answer is swallowed, its connection reset; 0: none."""
    bytes_before_cut: int | None = None
    """After so many more bytes of requests the connection that carries them is reset, once."""
    is_silent: bool = False
    """Nothing comes back any more, on connections that stay open."""


class ToxicProxy:
    """Listens on a port of its own and passes on to a Unix socket, or to another port of the loopback."""

    def __init__(self, target: str | int) -> None:
        self.toxics = Toxics()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._num_answers = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """The value for REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def port(self) -> int:
        """Where it listens."""
        address: tuple[str, int] = self._listener.getsockname()
        return address[1]

    def cut(self) -> None:
        """Resets all connections."""
        with self._lock:
            for connection in self._open:
                _reset(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._connected() as server, client:
            with self._lock:
                self._open.add(client)
            back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while asked := client.recv(CHUNK):
                    server.sendall(asked)
                    if self._is_cut(len(asked)):
                        _reset(client)
                        _reset(server)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()
            with self._lock:
                self._open.discard(client)

    def _connected(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server

    def _is_cut(self, num_bytes: int) -> bool:
        with self._lock:
            toxics = self.toxics
            if toxics.bytes_before_cut is None:
                return False
            toxics.bytes_before_cut -= num_bytes
            if toxics.bytes_before_cut > 0:
                return False
            toxics.bytes_before_cut = None
            return True

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answered := server.recv(CHUNK):
                time.sleep(self.toxics.latency_seconds)
                if self.toxics.is_silent:
                    continue
                if self._is_dropped():
                    _reset(client)
                    return
                size = self.toxics.slice_bytes
                for begin in range(0, len(answered), size):
                    client.sendall(answered[begin : begin + size])

    def _is_dropped(self) -> bool:
        with self._lock:
            self._num_answers += 1
            toxics = self.toxics
            if toxics.resets_every and self._num_answers % toxics.resets_every == 0:
                return True
            if toxics.answers_before_drop > 0:
                toxics.answers_before_drop -= 1
                return False
            if toxics.replies_to_drop > 0:
                toxics.replies_to_drop -= 1
                return True
            return False


def _reset(connection: socket.socket) -> None:
    """Ends a connection without a goodbye, for both sides of it at once."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
