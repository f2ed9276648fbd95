"""Whatever is sent: an answer below 500, and either the whole batch or nothing of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from heldard.testing import detection, post
from heldard.testing.kernel import Kernel

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
FIELD = st.sampled_from(["label", "confidence", "bbox", "track_id", "attributes", "other"])
DETECTION = st.dictionaries(FIELD, JSON, max_size=6) | JSON
EVENT_FIELDS = st.fixed_dictionaries(
    {"event_type": st.just("mine") | JSON}, optional={"severity": JSON, "payload": JSON}
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "camera_id": st.just("gate") | JSON,
        "task_type": st.just("detection") | JSON,
        "timestamp": JSON,
        "frame_id": st.text(max_size=12) | JSON,
        "detections": st.lists(DETECTION, max_size=5) | JSON,
        "event": EVENT_FIELDS | JSON,
        "frame_ticket": JSON,
        "epoch": JSON,
    },
)


def encode(value: Any) -> bytes:
    """JSON with what JSON has not: NaN and infinities are written as Python writes them."""
    import json

    return json.dumps(value).encode()


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    raw = encode({"camera_id": "gate", "task_type": "detection", **draw(BODY)})
    match draw(st.integers(0, 4)):
        case 0:
            return raw[: draw(st.integers(0, len(raw)))]
        case 1:
            place = draw(st.integers(0, len(raw)))
            return raw[:place] + draw(st.binary(max_size=5)) + raw[place:]
        case 2:
            return b'{"camera_id":"other","label":1,' + raw[1:]
        case _:
            return raw


NESTED = b'{"camera_id":"gate","task_type":"t","detections":[{"attributes":%s}]}'
EVENT = b'{"camera_id":"gate","task_type":"t","event":{"event_type":"mine","payload":%s}}'


class Server:
    """One kernel for all examples, on a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.kernel = Kernel(folder)
        self.runner.run(self._start())

    async def _start(self) -> None:
        await self.kernel.start()
        await self.kernel.add_camera()
        await self.kernel.add_camera("other")

    def send(self, raw: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        return self.runner.run(self._send(raw, kind))

    async def _send(self, raw: bytes, kind: str) -> tuple[int, bytes]:
        assert self.kernel._client is not None
        headers = {"content-type": kind}
        async with self.kernel._client.post("/api/v1/ai/events", data=raw, headers=headers) as response:
            return response.status, await response.read()

    def figures(self) -> tuple[int, int, int]:
        """(batches, detections they claim to have, detections there are)."""
        sql = "SELECT count(*) AS n, coalesce(sum(detection_count), 0) AS said FROM outbox"
        (batches,) = self.runner.run(self.kernel.rows(sql))
        (found,) = self.runner.run(self.kernel.rows("SELECT count(*) AS n FROM detections"))
        return batches["n"], batches["said"], found["n"]

    def readable(self) -> None:
        """What was stored can be shown."""
        for path in ("/api/v1/cameras/gate/detections?limit=5000", "/api/v1/outbox?payload=true&limit=1000",
                     "/api/v1/events?limit=2000"):  # fmt: skip
            assert self.runner.run(self.kernel.request("GET", path)).status == 200, path

    def close(self) -> None:
        self.runner.run(self.kernel.stop())
        self.runner.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = Server(tmp_path_factory.mktemp("fuzz"))
    yield opened
    opened.readable()
    opened.close()


def check(server: Server, raw: bytes, kind: str = "application/json") -> None:
    before = server.figures()
    status, body = server.send(raw, kind)
    after = server.figures()
    assert status < 500, (status, body)
    assert after[1] == after[2], "a batch was written in part"
    if status == 200 and kind == "application/json":
        receipt = msgspec.json.decode(body)
        assert after[0] == before[0] + (not receipt.get("duplicate"))
        assert after[2] == before[2] + receipt["detections_ingested"]
    elif status != 200:
        assert after == before
        assert set(msgspec.json.decode(body)) <= {"error", "code", "details"}


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=bodies())
@example(raw=b"")
@example(raw=b"null")
@example(raw=b"[" * 100_000)
@example(raw=NESTED % (b"[" * 990 + b"]" * 990))
@example(raw=NESTED % (b"[" * 63 + b"]" * 63))
@example(raw=NESTED % (b'{"a":' * 900 + b"1" + b"}" * 900))
@example(raw=NESTED % b'"\\ud800"')
@example(raw=NESTED % b'"\\u0000"')
@example(raw=NESTED % b'{"source":123456789012345678901234567890}')
@example(raw=NESTED % b"1e999")
@example(raw=NESTED % b"NaN")
@example(raw=NESTED % (b"1" * 5000))
@example(raw=NESTED % b'{"a":1,"a":2,"_prov":3}')
@example(raw=EVENT % (b"1" * 5000))
@example(raw=EVENT % b"123456789012345678901234567890")
@example(raw=EVENT % (b"[" * 980 + b"]" * 980))
@example(raw=b'{"camera_id":"gate","task_type":"t","frame_id":"\\u0000","detections":[{"label":"\\u0000"}]}')
@example(raw=b'{"camera_id":"gate","task_type":"t","detections":[{"bbox":[1e308,1e308,1e308,1e308]}]}')
@example(raw=b'{"camera_id":"gate","task_type":"t","detections":[{"bbox":[1e309,0,0,0]}]}')
@example(raw=b'{"camera_id":"gate","task_type":"t","timestamp":"0000-00-00T00:00:00Z"}')
@example(raw=b'{"camera_id":"gate","task_type":"t","timestamp":"9999-12-31T23:59:59-23:59"}')
@example(raw=b'{"camera_id":"gate","task_type":"t","timestamp":"0001-01-01T00:00:00+23:59"}')
@example(raw=b'{"camera_id":"gate","task_type":"t","frame_id":"ai_1:999999999999999"}')
@example(raw=b'\xff\xfe{"camera_id":"gate"}')
def test_no_body_breaks_the_server_or_writes_half_a_batch(server: Server, raw: bytes) -> None:
    check(server, raw)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(bodies(), max_size=8))
def test_no_line_breaks_the_others(server: Server, lines: list[bytes]) -> None:
    good = encode(post("gate", detection()))
    clean = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    status, body = server.send(b"\n".join([good, *clean, good]), "application/x-ndjson")
    assert status == 200, body
    results = [msgspec.json.decode(line) for line in body.splitlines()]
    assert len(results) == 2 + sum(bool(line.strip()) for line in clean)
    assert results[0]["detections_ingested"] == results[-1]["detections_ingested"] == 1
    assert all(line.get("status", 200) < 500 for line in results)
