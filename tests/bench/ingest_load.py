"""The load generator: bytes made beforehand, answers looked at as bytes, one process of its own.

    python -m tests.bench.ingest_load HOST PORT CONNECTIONS DETECTIONS SECONDS RUN

Prints one JSON line: batches answered, their latencies, how many had been fanned out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

HEAD = (
    b"POST /api/v1/ai/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
PLACE = b"@" * 24
"""Where each request's own frame id goes."""

WARM_S = 0.5


def camera_of(number: int) -> tuple[str, str]:
    """The camera and task type of a connection: every second one looks for plates."""
    return f"cam{number % 16}", "anpr" if number % 2 else "detection"


def body(number: int, detections: int) -> bytes:
    """What a worker with a tracker posts: people and vehicles on their way, plates where it looks for them."""
    camera, task_type = camera_of(number)
    found = []
    for n in range(detections):
        seen: dict[str, object] = {
            "label": ("person", "car", "truck")[n % 3], "confidence": 0.83, "track_id": str(number * 1000 + n),
            "bbox": [round(0.05 + n % 10 * 0.08, 3), 0.4 + n % 7 * 0.03, 0.06, 0.2],
        }  # fmt: skip
        if task_type == "anpr" and n == 0:
            seen |= {"label": "plate", "attributes": {"plate": f"KA01AB{number:04}", "plate_confidence": 0.9}}
        found.append(seen)
    return json.dumps(
        {"camera_id": camera, "task_type": task_type, "frame_id": PLACE.decode(), "epoch": "bench", "detections": found}
    ).encode()


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last has come."""

    def __init__(self, number: int, detections: int, run: str, until: float, done: asyncio.Future[None]) -> None:
        raw = body(number, detections)
        head, _, tail = (HEAD % len(raw) + raw).partition(PLACE)
        self._head, self._tail = head, tail
        self._name = f"{run}-{number}-".encode()
        self._until = until
        self._done = done
        self._count = 0
        self._sent = 0.0
        self._buffer = b""
        self.latencies: list[tuple[float, float]] = []
        self.fanned_out = 0
        self.errors: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._count += 1
        frame = (self._name + str(self._count).encode()).ljust(len(PLACE), b"_")
        self._sent = time.perf_counter()
        self._transport.write(self._head + frame + self._tail)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.lower().find(b"content-length: ")
        length = int(self._buffer[at + 16 : self._buffer.find(b"\r", at)])
        if len(self._buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        self._look(self._buffer)
        self.latencies.append((self._sent, now - self._sent))
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def _look(self, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200") or b"duplicate" in answer:
            self.errors.append(answer[:300].decode(errors="replace"))
        self.fanned_out += b'"fanned_out":true' in answer

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def load(host: str, port: int, connections: int, detections: int, seconds: float, run: str) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    open_ones: list[Connection] = []
    ends = []
    for number in range(connections):
        done = loop.create_future()
        ends.append(done)
        made = Connection(number, detections, run, began + WARM_S + seconds, done)
        open_ones.append(made)
        await loop.create_connection(lambda made=made: made, host, port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    errors = [error for one in open_ones for error in one.errors]
    counted = sorted(took for one in open_ones for sent, took in one.latencies if sent >= began + WARM_S)
    answered = sum(len(one.latencies) for one in open_ones)
    took_s = max(sent + took for one in open_ones for sent, took in one.latencies) - began - WARM_S
    return {
        "answered": answered,
        "batches_per_s": len(counted) / took_s,
        "p50_ms": counted[len(counted) // 2] * 1000,
        "p99_ms": counted[min(len(counted) - 1, int(len(counted) * 0.99))] * 1000,
        "fanned_out": sum(one.fanned_out for one in open_ones) / answered,
        "errors": errors[:3],
        "error_count": len(errors),
    }


if __name__ == "__main__":
    host, port, connections, detections, seconds, run = sys.argv[1:]
    print(json.dumps(asyncio.run(load(host, int(port), int(connections), int(detections), float(seconds), run))))
