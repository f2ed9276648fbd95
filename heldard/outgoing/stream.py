"""The live stream of events, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A stream reads the durable log from where its client stands; it keeps nothing of its own. A client that does not read
is dropped and resumes with `Last-Event-ID`, without loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from heldard.errors import TooManyError
from heldard.events.model import Event
from heldard.events.service import Events
from heldard.outgoing.coalesce import Coalescer
from heldard.outgoing.service import encode

PAGE = 200
RETRY_MS = 2000
"""How long a browser waits before it comes back."""

HEARTBEAT = b": alive\n\n"
GREETING = f"retry: {RETRY_MS}\n\n".encode()


class Streams:
    """Counts the clients and reads the log for them."""

    def __init__(self, events: Events, max_clients: int, heartbeat_s: float) -> None:
        self._events = events
        self._max_clients = max_clients
        self._heartbeat_s = heartbeat_s
        self.clients = 0
        self.dropped_total = 0

    def place(self, given: str | None) -> int:
        """Where a client stands: after the event it names, by id or by seq; at the end for none or an unknown one."""
        if given:
            if given.isascii() and given.isdigit() and len(given) < 19:
                return min(int(given), self._events.last_seq)
            seq = self._events.seq_of(given)
            if seq is not None:
                return min(seq, self._events.last_seq)
        return self._events.last_seq

    async def follow(self, after: int, wanted: Callable[[Event], bool], coalesce_s: int) -> AsyncGenerator[bytes, None]:
        """Blocks to send, for ever: events, and heartbeats where there are none. Raises TooManyError."""
        if self.clients >= self._max_clients:
            raise TooManyError(
                f"{self._max_clients} streams are open already: close one, or raise outgoing.max_stream_clients",
                code="too_many_streams", retry_after_s=10,
            )  # fmt: skip
        self.clients += 1
        coalescer = Coalescer(coalesce_s, lambda kind: not self._events.known(kind))
        try:
            yield GREETING
            while True:
                page = await self._events.after(after, PAGE)
                for event in page:
                    after = event.seq
                    left_out = coalescer.take(event) if wanted(event) else None
                    if left_out is not None:
                        yield block(event, left_out)
                if not page and not await self._news(after):
                    yield HEARTBEAT
        finally:
            self.clients -= 1

    async def _news(self, after: int) -> bool:
        """Whether something came within a heartbeat's time."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await self._events.wait_after(after)
        except TimeoutError:
            return False
        return True


def block(event: Event, left_out: int) -> bytes:
    # JSON has no line breaks outside of strings, and escapes those inside.
    head = f"id: {event.id}\nevent: {event.event_type}\ndata: ".encode()
    return head + encode(event, left_out) + b"\n\n"
