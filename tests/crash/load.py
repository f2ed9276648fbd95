"""Workers that behave as workers should: each batch is sent until it is acknowledged, whatever happens."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from heldard.clock import SystemClock

CLOCK = SystemClock()


@dataclass
class Acknowledged:
    """What the daemon promised to keep. by_frame: place in the log; tokens: batches without a frame id."""

    by_frame: dict[tuple[str, str], int] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    in_order: dict[str, list[int]] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)
    duplicates: int = 0
    refused: int = 0


class Load:
    """Several connections; two of them share each camera."""

    def __init__(self, base: str, connections: int, seed: int) -> None:
        self._base = base
        self._connections = connections
        self._random = random.Random(seed)
        self.cameras = [f"cam{n}" for n in range((connections + 1) // 2)]
        self.kept = Acknowledged()
        self._stopping = False

    async def prepare(self, session: aiohttp.ClientSession) -> None:
        for camera in self.cameras:
            async with session.post(f"{self._base}/api/v1/cameras", json={"id": camera, "name": camera}) as response:
                assert response.status in (201, 409), await response.text()

    def stop(self) -> None:
        """Let each connection finish the batch it is at."""
        self._stopping = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._connection(number))

    async def _connection(self, number: int) -> None:
        camera = self.cameras[number // 2]
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            count = 0
            while not self._stopping:
                count += 1
                await CLOCK.sleep(self._random.choice((0, 0.002, 0.02)))
                if self._random.random() < 0.2:
                    await self._send_nameless(session, camera, f"{number}-{count}")
                else:
                    await self._send(session, camera, f"{number}-{count}")

    async def _send(self, session: aiohttp.ClientSession, camera: str, frame: str) -> None:
        """Until it is acknowledged; now and then once more, as a worker does that missed the answer."""
        body = _body(camera, frame, self._random.randint(0, 4))
        body["frame_id"] = frame
        while (receipt := await self._post(session, body)) is None:
            await CLOCK.sleep(0.02)
        self._note(camera, frame, receipt)
        if self._random.random() < 0.1 and (again := await self._post(session, body)) is not None:
            assert again["duplicate"] is True, f"{frame} was stored twice: {again}"
            self._note(camera, frame, again)

    def _note(self, camera: str, frame: str, receipt: dict[str, Any]) -> None:
        before = self.kept.by_frame.setdefault((camera, frame), receipt["seq"])
        assert before == receipt["seq"], f"{frame} was {before} and is {receipt['seq']} now"
        if receipt.get("duplicate"):
            self.kept.duplicates += 1
            assert receipt["detections_ingested"] == 0

    async def _send_nameless(self, session: aiohttp.ClientSession, camera: str, token: str) -> None:
        """Once: without a frame id nobody can tell a second one from the first."""
        if await self._post(session, _body(camera, token, 1)) is None:
            self.kept.doubted.add(token)
        else:
            self.kept.tokens.add(token)

    async def _post(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> dict[str, Any] | None:
        """The receipt; None when there was no answer or one that says to try again."""
        try:
            async with session.post(f"{self._base}/api/v1/ai/events", json=body) as response:
                if response.status == 200:
                    receipt: dict[str, Any] = await response.json()
                    return receipt
                assert response.status in (503, 507), f"{response.status}: {await response.text()}"
                self.kept.refused += 1
                return None
        except (aiohttp.ClientError, TimeoutError):
            return None


def _body(camera: str, token: str, detections: int) -> dict[str, Any]:
    found = [
        {"label": f"thing{n}", "confidence": 0.5, "bbox": [0.1, 0.1, 0.2, 0.2], "track_id": token}
        for n in range(max(1, detections))
    ]
    return {"camera_id": camera, "task_type": "detection", "detections": found}
