"""A real store with a clock that tests move, and a disk of any size."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from heldard.config import RetentionSettings
from heldard.db.database import Database
from heldard.db.names import Names
from heldard.events.service import Events
from heldard.frames.evidence import EvidenceStore
from heldard.ingest.log import LogEntry, append, label_mask
from heldard.ingest.sources import Channel, Source, Sources
from heldard.plugin import EventDraft, Frame
from heldard.retention.disk import MIB, DiskGuard
from heldard.retention.model import EVENT_TYPES
from heldard.retention.service import Retention
from heldard.retention.store import RetentionStore

START_MS = 1_800_000_000_000
CAMERA = "gate"


class HandClock:
    """Time that only sleeping and the test move."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += max(1, int(seconds * 1000))
        await asyncio.sleep(0)


class Box:
    """What retention works on, and short ways to fill it."""

    def __init__(self, folder: Path, settings: RetentionSettings) -> None:
        self.clock = HandClock()
        self.db = Database(folder / "heldard.db", self.clock, "normal")
        self.names = Names(self.db)
        self.sources = Sources(self.db, self.names)
        self.events = Events(self.db, self.names, self.clock, lambda _: None)
        self.evidence = EvidenceStore(folder)
        self.free = 100 * 1024 * MIB
        self.total = 200 * 1024 * MIB
        self.guard = DiskGuard(folder, settings, lambda _: (self.total, self.free))
        self.evidence.has_room = lambda: not self.guard.low
        self.retention = Retention(
            RetentionStore(self.db), self.evidence, self.sources, self.guard, self.clock, self.events.emit, settings
        )
        self._frame = 0

    async def open(self) -> None:
        await self.db.open()
        await self.names.load()
        await self.events.load()
        await self.events.register(EVENT_TYPES)
        await self.names.intern([CAMERA, "person"])

    async def batch(
        self, *, received_ms: int | None = None, detections: int = 10, finished: bool = True, epoch: str = "e"
    ) -> int:
        """Append a batch to the log; its seq."""
        received = self.clock.now_ms() if received_ms is None else received_ms
        source = Source(CAMERA, "detection", "", "", epoch, "worker", "apikey:k", "")
        channel = Channel(CAMERA, "detection", "")
        await self.sources.intern(source, channel)
        self._frame += 1
        label = self.names.id("person")
        entry = LogEntry(
            batch=(
                self._frame, self.names.id(CAMERA), self.sources.source_id(source), self.sources.channel_id(channel),
                self._frame, received, received, received, received, detections, label_mask([label] * detections),
                received if finished else None,
            ),
            detections=[
                column
                for n in range(detections)
                for column in (label, 0.9, 0.1, 0.2, 0.3, 0.4, f"t{n}", '{"a":1}')
            ],
            event=None,
        )  # fmt: skip
        seq, _ = await self.db.write(lambda connection: append(connection, entry))
        await self.db.write(
            lambda connection: connection.execute("INSERT INTO consumer_fanout VALUES (?, 1, 1, NULL, NULL, ?)",
                                                  (seq, received))
        )  # fmt: skip
        return seq

    async def event(self) -> None:
        await self.events.emit(EventDraft("retention_shed", self.clock.now_ms(), "info", None, {"text": "x" * 200}))

    async def keep(self, captured_ms: int, size: int = 1000) -> str:
        """A kept frame with its row; its name."""
        name = f"{CAMERA}-sub-{captured_ms}.jpg"
        self.evidence.write(
            {name: Frame(f"{CAMERA}:sub:{captured_ms}", CAMERA, "sub", captured_ms, 1, 8, 8, b"j" * size)}
        )
        row = (name, CAMERA, "frame", captured_ms, size, self.clock.now_ms())
        await self.db.write(
            lambda connection: connection.execute("INSERT INTO media_artifacts VALUES (?, ?, ?, ?, ?, ?)", row)
        )
        return name

    async def count(self, table: str) -> int:
        row = await self.db.fetch_one(f"SELECT count(*) FROM {table}")
        assert row is not None
        return int(row[0])

    async def told(self, event_type: str) -> list[dict[str, object]]:
        found = await self.events.after(0, 1000)
        return [event.payload for event in found if event.event_type == event_type]


@pytest.fixture
async def make_box(tmp_path: Path) -> AsyncIterator[Callable[..., Box]]:
    boxes: list[Box] = []

    async def make(settings: RetentionSettings | None = None, folder: Path = tmp_path) -> Box:
        box = Box(folder, settings or RetentionSettings())
        await box.open()
        boxes.append(box)
        return box

    yield make  # type: ignore[misc]
    for box in boxes:
        await box.db.close()


@pytest.fixture
async def box(make_box: Callable[..., Box]) -> Box:
    return await make_box()  # type: ignore[misc, no-any-return]


def mount_small(folder: Path, size_mb: int) -> bool:
    """Put a file system of that size on a folder; False where this machine does not let us."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
    return subprocess.run(options, capture_output=True, check=False).returncode == 0


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)
