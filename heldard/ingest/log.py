"""The log of batches: the only place that touches `outbox` and `detections`.

A batch is one row of `outbox`; its detections are rows of `detections` keyed by `seq * 1024 + place in the batch`, so
they lie together and need no index of their own.
"""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from heldard import ids
from heldard.clock import rfc3339
from heldard.db import queries
from heldard.db.database import Database
from heldard.db.names import Names
from heldard.ingest.model import DetectionView, OutboxEntry
from heldard.ingest.sources import Source, Sources
from heldard.plugin import Batch, Detection, EventDraft, FrameSource, Provenance

SQL = queries.load("heldard.ingest")

PLACES = 1024
"""Places a batch has for detections; more than a post may carry (1000)."""

WORKER_SPACE = "w:"
"""Namespace of the frame ids that came over HTTP, so that none can be mistaken for the kernel's own."""


FRAME_KEY = slice(3, 5)
"""Where a batch's tuple has what makes it the same as another: (channel, frame)."""

COLUMNS = 8
"""Columns of a detection beside its number: label, confidence, x, y, w, h, track, attributes."""

TRACK, ATTRIBUTES = 6, 7
"""Which of them are text of any length."""

BATCH_BYTES, DETECTION_BYTES, TEXT_COST = 2_000, 600, 3
"""What is held for a batch that waits, per batch, detection and character; its text is held in several forms."""

WIDTH = 1 + COLUMNS
"""Columns of a detection as it is read, its number first. Taken by place: a row's names are looked up one by one."""

ROWS_AT_ONCE = 50
"""Detections one statement inserts. Each statement gives the interpreter's lock away and has to win it back."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A batch ready to be written: its place taken, everything interned. detections: their columns one after the other,
    in order."""

    batch: tuple[Any, ...]
    detections: list[Any]
    event: EventDraft | None


def size_of(entry: LogEntry) -> int:
    """What it holds in memory until it is committed, in bytes, roughly."""
    columns = entry.detections
    texts = itertools.chain(columns[TRACK::COLUMNS], columns[ATTRIBUTES::COLUMNS])
    event = 0 if entry.event is None else len(msgspec.json.encode(entry.event.payload))
    return (
        BATCH_BYTES
        + DETECTION_BYTES * len(columns) // COLUMNS
        + TEXT_COST * (sum(map(len, filter(None, texts))) + event)
    )


def append(connection: sqlite3.Connection, entry: LogEntry) -> tuple[int, bool]:
    """Write a batch inside a unit of work: (seq, whether it is new). For a duplicate, the original's seq."""
    cursor = connection.execute(SQL["insert_batch"], entry.batch)
    if cursor.rowcount == 0:
        return connection.execute(SQL["batch_of_frame"], entry.batch[FRAME_KEY]).fetchone()[0], False
    seq: int = entry.batch[0]
    values = entry.detections
    step = ROWS_AT_ONCE * COLUMNS
    for start in range(0, len(values), step):
        part = values[start : start + step]
        connection.execute(_insert_detections(len(part) // COLUMNS), [seq * PLACES + start // COLUMNS, *part])
    return seq, True


@functools.cache
def _insert_detections(rows: int) -> str:
    """One statement for so many detections. Its first parameter is the number of the first; the others follow it."""
    head, _, _ = SQL["insert_detection"].partition(" VALUES ")
    marks = ", ".join("?" * COLUMNS)
    return f"{head} VALUES {', '.join(f'(?1 + {row}, {marks})' for row in range(rows))}"


def label_mask(labels: Iterable[int | None]) -> int:
    """One bit for each label number, 63 of them: a batch whose mask lacks a label's bit has no such detection."""
    mask = 0
    for label in set(labels):
        if label is not None:
            mask |= 1 << label % 63
    return mask


class DetectionLog:
    """Reads the log back: as batches for lanes and backtests, as rows for the API."""

    def __init__(self, db: Database, names: Names, sources: Sources, frames: FrameSource | None) -> None:
        self._db = db
        self._names = names
        self._sources = sources
        self._frames = frames
        self._last_place = 0

    async def open(self) -> None:
        """Before the first batch is written: see where the log ends."""
        row = await self._db.fetch_one(SQL["last_place"])
        self._last_place = 0 if row is None else row["seq"] or 0

    def next_place(self) -> int:
        """The place in the log of a batch that is about to be written. One that turns out to be a duplicate, or cannot
        be written, leaves its place empty."""
        self._last_place += 1
        return self._last_place

    async def to_batches(self, rows: Sequence[sqlite3.Row], *, replayed: bool) -> list[Batch]:
        """Outbox rows with their detections, as consumers are given them."""
        sources = await self._sources.of({row["source"] for row in rows})
        detections = await self._detections([row["seq"] for row in rows])
        return [self._to_batch(row, sources[row["source"]], tuple(detections[row["seq"]]), replayed) for row in rows]

    async def _detections(self, seqs: list[int]) -> dict[int, list[Detection]]:
        found: dict[int, list[Detection]] = {seq: [] for seq in seqs}
        text = self._names.text
        # Taken apart by place: a backtest reads millions of these, and a lookup by name costs as much as the rest.
        for number, label, confidence, x, y, w, h, track, attributes in await self._db.fetch(
            SQL["detections_of_batches"], {"seqs": msgspec.json.encode(seqs).decode()}
        ):
            found[number // PLACES].append(
                Detection(
                    number % PLACES,
                    None if label is None else text(label),
                    confidence,
                    None if x is None else (x, y, w, h),
                    track,
                    b"{}" if attributes is None else attributes.encode(),
                )
            )
        return found

    def _to_detection(self, row: sqlite3.Row) -> Detection:
        number, label, confidence, x, y, w, h, track, attributes = row[:WIDTH]
        return Detection(
            number % PLACES,
            None if label is None else self._names.text(label),
            confidence,
            None if x is None else (x, y, w, h),
            track,
            b"{}" if attributes is None else attributes.encode(),
        )

    def _to_batch(self, row: sqlite3.Row, source: Source, detections: tuple[Detection, ...], replayed: bool) -> Batch:
        return Batch(
            seq=row["seq"],
            camera_id=source.camera_id,
            task_type=source.task_type,
            at_ms=row["at_ms"],
            received_ms=row["received_ms"],
            detections=detections,
            site_id=source.site_id or None,
            task_id=source.task_id or None,
            epoch=source.epoch,
            frame_id=frame_text(row["frame"], source.task_id),
            captured_ms=row["captured_ms"],
            provenance=provenance_of(source),
            replayed=replayed,
            frames=self._frames,
        )

    async def between(self, camera_id: str, from_ms: int, to_ms: int, page: int = 256) -> AsyncIterator[Batch]:
        """A camera's batches with from_ms <= at_ms < to_ms, in log order."""
        camera = self._names.id(camera_id)
        at_ms, seq = from_ms - 1, 2**62
        while True:
            place = {"camera": camera, "at_ms": at_ms, "seq": seq, "to_ms": to_ms, "limit": page}
            rows = await self._db.fetch(SQL["batches_at"], place)
            for batch in await self.to_batches(rows, replayed=True):
                yield batch
            if len(rows) < page:
                return
            at_ms, seq = rows[-1]["at_ms"], rows[-1]["seq"]

    async def newest(self, camera_id: str, conditions: Sequence[tuple[str, Any]], limit: int) -> list[DetectionView]:
        """A camera's detections, newest first by (timestamp, id). `conditions` come from routes only."""
        sql = SQL["newest_detections"] + "".join(f" AND {condition}" for condition, _ in conditions)
        values: list[Any] = [self._names.id(camera_id)]
        for _, value in conditions:
            values.extend(value if isinstance(value, tuple) else (value,))
        rows = await self._db.fetch(f"{sql} ORDER BY o.timestamp_ms DESC, d.id DESC LIMIT ?", [*values, limit])
        sources = await self._sources.of({row["source"] for row in rows})
        views: list[DetectionView] = []
        shown: _Shown | None = None
        for row in rows:
            if shown is None or shown.seq != row["seq"]:
                shown = _Shown(row, sources[row["source"]])
            views.append(self._view(shown, row))
        return views

    async def outbox(self, after: int, limit: int, *, payload: bool) -> list[OutboxEntry]:
        """The log from `after` on, ascending."""
        rows = await self._db.fetch(SQL["outbox_after"], {"after": after, "limit": limit})
        sources = await self._sources.of({row["source"] for row in rows})
        inside: dict[int, list[DetectionView]] = {}
        if payload:
            by_seq = {row["seq"]: _Shown(row, sources[row["source"]]) for row in rows}
            seqs = msgspec.json.encode(list(by_seq)).decode()
            for row in await self._db.fetch(SQL["detections_of_batches"], {"seqs": seqs}):
                shown = by_seq[row["id"] // PLACES]
                inside.setdefault(shown.seq, []).append(self._view(shown, row))
        return [_entry(row, sources[row["source"]], inside.get(row["seq"], []) if payload else None) for row in rows]

    async def forget_camera(self, camera_id: str) -> None:
        """Delete a camera's detections, a step at a time so that ingest is not held up. Its outbox rows stay."""
        camera = self._names.id(camera_id)
        while await self._db.write(lambda c: c.execute(SQL["delete_detections_of_camera"], (camera,)).rowcount):
            pass

    def _view(self, batch: _Shown, row: sqlite3.Row) -> DetectionView:
        number, label, confidence, x, y, w, h, track, attributes = row[:WIDTH]
        return DetectionView(
            id=ids.of_row("det", number),
            seq=batch.seq,
            camera_id=batch.source.camera_id,
            task_type=batch.source.task_type,
            task_id=batch.task_id,
            timestamp=batch.timestamp,
            at=batch.at,
            label=None if label is None else self._names.text(label),
            confidence=confidence,
            bbox=None if x is None else (x, y, w, h),
            track_id=track,
            attributes=batch.server if attributes is None else {**msgspec.json.decode(attributes), **batch.server},
            frame_id=batch.frame_id,
            created_at=batch.created_at,
        )


class _Shown:
    """What all detections of a batch are shown with, made once."""

    __slots__ = ("at", "created_at", "frame_id", "seq", "server", "source", "task_id", "timestamp")

    def __init__(self, row: sqlite3.Row, source: Source) -> None:
        self.seq: int = row["seq"]
        self.source = source
        self.task_id = source.task_id or None
        self.timestamp = rfc3339(row["timestamp_ms"])
        self.at = rfc3339(row["at_ms"])
        self.created_at = rfc3339(row["received_ms"])
        self.frame_id = frame_text(row["frame"], source.task_id)
        self.server = server_attributes(source)


def provenance_of(source: Source) -> Provenance:
    return Provenance("worker" if source.provenance == "worker" else "camera_native", source.produced_by,
                      source.worker or None)  # fmt: skip


def server_attributes(source: Source) -> dict[str, Any]:
    """The attributes only the server writes: whatever a worker sent under these names is not shown."""
    if source.provenance != "worker":
        return {"source": "camera_native", "_prov": {"producer": source.produced_by.removeprefix("kernel:")}}
    return {
        "source": "worker",
        "_prov": {
            "key": source.produced_by.removeprefix("apikey:"),
            "task": source.task_id or None,
            "worker": source.worker or None,
        },
    }


def frame_text(frame: int | str | None, task_id: str) -> str | None:
    """The stored frame key as the API shows it, with its namespace."""
    if frame is None:
        return None
    return f"{WORKER_SPACE}{task_id}:{frame}" if isinstance(frame, int) else frame


def _entry(row: sqlite3.Row, source: Source, payload: list[DetectionView] | None) -> OutboxEntry:
    return OutboxEntry(
        seq=row["seq"],
        topic="detections",
        camera_id=source.camera_id,
        site_id=source.site_id or None,
        frame_id=frame_text(row["frame"], source.task_id),
        task_type=source.task_type,
        detection_count=row["detection_count"],
        created_at=rfc3339(row["received_ms"]),
        at=rfc3339(row["at_ms"]),
        fanned_out_at=None if row["fanned_out_ms"] is None else rfc3339(row["fanned_out_ms"]),
        payload=payload,
    )
