"""Attacks as bytes on the wire, and the server they go to."""

import contextlib
import io
import json
import socket
from dataclasses import dataclass

from tests.unit.api.servers import Running
from tests.unit.api.service import Service

KEY = "correct-horse"
AUTH = f"X-Api-Key: {KEY}\r\n"
ULID = "01J00000000000000000000000"
ITEM = "ITEM" * 6 + "IT"
"""Stands for the id of the finished tokenizer, and is as long."""
REFUSED = frozenset({400, 401, 403, 404, 405, 409, 411, 413, 416, 422, 431, 501})
CLOSED = frozenset({0})
"""The server closed the connection without an answer."""


@dataclass(frozen=True)
class Attack:
    """Bytes on the wire and the statuses that are right."""

    name: str
    request: bytes
    expected: frozenset[int] = REFUSED
    seconds: float = 10.0
    """How long to wait: an answer may never come to a request that never ends (the deadline for bodies is longer)."""


@dataclass
class Target:
    """A server with a key, a secret beside its roots, a finished tokenizer inside."""

    running: Running
    service: Service
    item_id: str
    log: io.StringIO

    def send(self, request: bytes, *, seconds: float = 10.0) -> tuple[int, bytes]:
        """Status and everything that was answered; status 0 when nothing was."""
        with socket.create_connection(("127.0.0.1", self.running.port), timeout=seconds) as wire:
            answered = b""
            with contextlib.suppress(ConnectionError, TimeoutError):  # what came until then counts
                wire.sendall(request.replace(ITEM.encode(), self.item_id.encode()))
                while chunk := wire.recv(65536):
                    answered += chunk
                    if is_whole(answered):
                        break
        return (int(answered.split(b" ", 2)[1]) if answered.startswith(b"HTTP/1.") else 0), answered


def is_whole(answered: bytes) -> bool:
    """Whether a whole response is there, by its Content-Length or its last chunk."""
    head, separator, body = answered.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(separator) and len(body) >= int(line.split(b":")[1])
    return body.endswith(b"\r\n0\r\n\r\n")


def get(path: str, *headers: str, auth: str = AUTH, version: str = "1.1") -> bytes:
    """A GET."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/{version}\r\nHost: localhost\r\n{auth}{lines}\r\n".encode("latin-1", "replace")


def post(path: str, body: bytes, *headers: str, auth: str = AUTH) -> bytes:
    """A POST of JSON."""
    lines = "".join(f"{header}\r\n" for header in headers)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{auth}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{lines}\r\n"
    )
    return head.encode("latin-1", "replace") + body


def tokenizer_of(corpus_path: object) -> bytes:
    """An order that names a corpus."""
    return post(
        "/tokenizers/train",
        json.dumps({"method": "bpe", "corpus_path": corpus_path, "vocab_size": 300}).encode(),
    )


def training_with(**more: object) -> bytes:
    """An order with more fields."""
    return post(
        "/runs/train",
        json.dumps({"model_family": "toy", "corpus_path": "demo", "tokenizer_id": ITEM, **more}).encode(),
    )


def training_raw(field: str, value: str) -> bytes:
    """An order with a field whose JSON is written by hand."""
    body = f'{{"model_family":"toy","corpus_path":"demo","tokenizer_id":"{ITEM}","{field}":{value}}}'
    return post("/runs/train", body.encode())
