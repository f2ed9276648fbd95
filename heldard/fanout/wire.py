"""What the daemon and a consumer's own process say to each other, over a pair of sockets.

Both ends run the same program with the same rights, so messages are pickles with their length before them.
"""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("!Q")
LIMIT_BYTES = 256 * 1024 * 1024
"""A message larger than this means that the two no longer understand each other."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first message: where modules are found, and the pickled consumer."""

    path: list[str]
    consumer: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """Call a method. camera_id and at_ms: of the effects to be filled, where the method takes any."""

    method: str
    arguments: tuple[Any, ...]
    camera_id: str | None = None
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """The process needs something of the daemon: `frame` (camera, captured ms) or `fetch` (sql, parameters)."""

    what: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """A call ended well, with what it put into the effects; frames are named by capture time."""

    operations: list[Any]
    state: dict[str, bytes | None]
    frames: list[int]
    actions: list[Any]


@dataclass(frozen=True, slots=True)
class Raised:
    """A call, or what was asked of the daemon, raised."""

    text: str
    trace: str = ""


def pack(message: Any) -> bytes:
    raw = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(raw)) + raw


def unpack(raw: bytes) -> Any:
    return pickle.loads(raw)  # noqa: S301 - from our own process


def receive(connection: socket.socket) -> Any:
    """The next message. Raises EOFError when the other side is gone."""
    (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size))
    return unpack(_exactly(connection, length))


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
