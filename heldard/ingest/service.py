"""Take a batch in: check everything, write everything in one unit of work, then hand it on.

Nothing is written before all checks pass, and nothing is handed on before the commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from heldard.cameras.service import Cameras
from heldard.clock import Clock, parse_rfc3339
from heldard.config import IngestSettings
from heldard.db.database import Database
from heldard.db.names import Names
from heldard.errors import InvalidError
from heldard.events.service import Events
from heldard.fanout.service import Fanout
from heldard.ingest import frame_id as frame_ids
from heldard.ingest.log import WORKER_SPACE, LogEntry, append, frame_text, provenance_of
from heldard.ingest.model import MAX_DETECTIONS, BatchPost, DetectionPost, EventPost, Receipt
from heldard.ingest.sources import Channel, Source, Sources
from heldard.plugin import Batch, Detection, EventDraft, FrameSource, Severity
from heldard.tasks.service import Tasks

RESERVED_PREFIXES = ("gate_", "entry_", "zone_", "camera_", "disk_", "raid_")
"""Types of events that only the kernel and its plugins may raise."""

NO_TRACK = frozenset({"", "-1", "null", "None"})
"""Track ids that trackers write when they mean none; two things of one such id are not the same thing."""

CAPTURE_PAST_MS = 7 * 24 * 3600 * 1000
CAPTURE_FUTURE_MS = 2_000
"""How far from now a canonical frame id's capture time may lie to be trusted without the frame being held."""

_ATTRIBUTES = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Binding:
    """What a post is allowed to say about itself, after its ticket or its credential was looked at.

    task_id and captured_ms: from a verified ticket; None without one.
    """

    camera_id: str
    task_type: str
    frame_id: str | None
    credential: str
    task_id: str | None = None
    captured_ms: int | None = None
    worker: str | None = None
    ticketed: bool = False


class Ingest:
    """See `take`."""

    def __init__(
        self, db: Database, names: Names, sources: Sources, cameras: Cameras, tasks: Tasks, events: Events,
        fanout: Fanout, frames: FrameSource, clock: Clock, settings: IngestSettings,
    ) -> None:  # fmt: skip
        self._db = db
        self._names = names
        self.sources = sources
        self._cameras = cameras
        self._tasks = tasks
        self._events = events
        self._fanout = fanout
        self._frames = frames
        self._clock = clock
        self._wait_s = settings.fanout_wait_ms / 1000
        self.admit: Callable[[], None] = lambda: None

    def reconfigure(self, settings: IngestSettings) -> None:
        """Take up settings that can change while the daemon runs."""
        self._wait_s = settings.fanout_wait_ms / 1000

    async def take(self, post: BatchPost, binding: Binding) -> Receipt:
        """Store a batch once and answer after its commit, and after its consumers or `fanout_wait`, whichever is first.

        Raises NotFoundError for the camera, InvalidError for any bad value, BusyError or StoreError when it could not
        be written, DiskFullError when only the disk's reserve is left; in each case nothing was.
        """
        self.admit()
        checked = self._check(post, binding)
        await self._intern(checked)
        return await self._store(checked)

    # --- checking ---------------------------------------------------------------------------------------------------

    def _check(self, post: BatchPost, binding: Binding) -> _Checked:
        camera = self._cameras.get(binding.camera_id)
        if not binding.task_type.strip():
            raise InvalidError("task_type: must not be blank")
        if len(post.detections) > MAX_DETECTIONS:
            raise InvalidError(
                f"detections: {len(post.detections)} in one batch; at most {MAX_DETECTIONS}", code="too_many_detections"
            )
        event = None if post.event is None else check_event(post.event)
        reported_ms = _timestamp(post.timestamp)
        detections = tuple(check_detection(place, found) for place, found in enumerate(post.detections))
        received_ms = self._clock.now_ms()
        frame_task, captured_ms = self._frame(binding, received_ms)
        return _Checked(
            source=Source(
                camera.id, binding.task_type, binding.task_id or frame_task, camera.site_id or "",
                post.epoch or binding.worker or "",
                "worker", f"apikey:{binding.credential}", binding.worker or "",
            ),
            channel=Channel(camera.id, binding.task_type, frame_task),
            frame=_frame_key(binding.frame_id, frame_task),
            captured_ms=captured_ms,
            reported_ms=reported_ms,
            received_ms=received_ms,
            detections=detections,
            event=event,
            ticketed=binding.ticketed,
        )  # fmt: skip

    def _frame(self, binding: Binding, now_ms: int) -> tuple[str, int | None]:
        """(task of the canonical frame id, else empty; capture time where it can be trusted)."""
        parsed = None if binding.frame_id is None else frame_ids.parse(binding.frame_id)
        if parsed is None:
            return "", binding.captured_ms
        task_id, captured_ms = parsed
        task = self._tasks.find(task_id)
        if task is None or task.camera_id != binding.camera_id:
            return "", binding.captured_ms
        plausible = now_ms - CAPTURE_PAST_MS <= captured_ms <= now_ms + CAPTURE_FUTURE_MS
        return task_id, captured_ms if plausible else binding.captured_ms

    async def _intern(self, checked: _Checked) -> None:
        words = {found.label for found in checked.detections if found.label is not None}
        if checked.event is not None:
            words.add(checked.event.event_type)
        if self._names.missing(words):
            await self._names.intern(words)
        sources = self.sources
        if sources.source_id(checked.source) is None or sources.channel_id(checked.channel) is None:
            await sources.intern(checked.source, checked.channel)

    # --- writing ----------------------------------------------------------------------------------------------------

    async def _store(self, checked: _Checked) -> Receipt:
        """From here to `submit` nothing awaits, so that trusted time rises with the place in the log."""
        camera_id = checked.source.camera_id
        wanted = checked.captured_ms if checked.captured_ms is not None else checked.received_ms
        at_ms = self._fanout.begin(camera_id, wanted)
        try:
            entry = self._entry(checked, at_ms)
            waiting: list[asyncio.Future[None] | None] = []

            def unit(connection: sqlite3.Connection) -> tuple[int, bool, int | None]:
                seq, fresh = append(connection, entry)
                event_seq = self._events.insert(connection, entry.event) if fresh and entry.event else None
                return seq, fresh, event_seq

            def committed(result: tuple[int, bool, int | None]) -> None:
                seq, fresh, event_seq = result
                if event_seq is not None and entry.event is not None:
                    self._events.announce([(event_seq, entry.event)])
                if fresh:
                    waiting.append(self._fanout.offer(self._batch(checked, seq, at_ms), wait=self._wait_s > 0))

            future = self._db.writer.submit(unit, committed)
        except BaseException:
            self._fanout.end(camera_id)
            raise
        future.add_done_callback(lambda _: self._fanout.end(camera_id))
        seq, fresh, _ = await future
        if not fresh:
            return Receipt(0, ticketed=checked.ticketed, seq=seq, duplicate=True)
        fanned_out = await self._wait(waiting[0])
        return Receipt(len(checked.detections), ticketed=checked.ticketed, seq=seq, fanned_out=fanned_out)

    async def _wait(self, delivered: asyncio.Future[None] | None) -> bool:
        if delivered is None:
            return False
        if not delivered.done():
            await asyncio.wait((delivered,), timeout=self._wait_s)
        return delivered.done()

    def _entry(self, checked: _Checked, at_ms: int) -> LogEntry:
        ids = self._names.id
        source = checked.source
        finished_ms = None if self._fanout.interested(source.task_type) else checked.received_ms
        reported_ms = checked.reported_ms if checked.reported_ms is not None else at_ms
        return LogEntry(
            batch=(
                ids(source.camera_id), self.sources.source_id(source), self.sources.channel_id(checked.channel),
                checked.frame, at_ms, reported_ms, checked.captured_ms, checked.received_ms, len(checked.detections),
                finished_ms,
            ),
            detections=[_row(found, ids) for found in checked.detections],
            event=checked.event
            and msgspec.structs.replace(checked.event, camera_id=source.camera_id, at_ms=at_ms),
        )  # fmt: skip

    def _batch(self, checked: _Checked, seq: int, at_ms: int) -> Batch:
        source = checked.source
        return Batch(
            seq=seq,
            camera_id=source.camera_id,
            task_type=source.task_type,
            at_ms=at_ms,
            received_ms=checked.received_ms,
            detections=checked.detections,
            site_id=source.site_id or None,
            task_id=source.task_id or None,
            epoch=source.epoch,
            frame_id=frame_text(checked.frame, source.task_id),
            captured_ms=checked.captured_ms,
            provenance=provenance_of(source),
            frames=self._frames,
        )


@dataclass(frozen=True, slots=True)
class _Checked:
    source: Source
    channel: Channel
    frame: int | str | None
    captured_ms: int | None
    reported_ms: int | None
    received_ms: int
    detections: tuple[Detection, ...]
    event: EventDraft | None
    ticketed: bool


def _frame_key(frame_id: str | None, task_id: str) -> int | str | None:
    if not frame_id:
        return None
    parsed = frame_ids.parse(frame_id) if task_id else None
    return f"{WORKER_SPACE}{frame_id}" if parsed is None else parsed[1]


def _timestamp(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidError(f"timestamp: {error}", code="bad_timestamp") from None


def check_event(post: EventPost) -> EventDraft:
    """A worker's event, its severity clamped to warning. Raises InvalidError for a type it may not raise."""
    name = post.event_type
    well_formed = 0 < len(name) <= 64 and all(c.isascii() and (c.islower() or c.isdigit() or c == "_") for c in name)
    if not well_formed or name.startswith(RESERVED_PREFIXES):
        raise InvalidError(
            f"event.event_type: {name[:80]!r} must be 1 to 64 of a-z, 0-9 and _, and not begin with "
            f"{', '.join(RESERVED_PREFIXES)}",
            code="bad_event_type",
        )
    severity: Severity = "info" if post.severity in (None, "info") else "warning"
    payload = {} if post.payload is None else post.payload
    return EventDraft(name, 0, severity, None, payload if isinstance(payload, dict) else {"_client": payload})


def check_detection(place: int, post: DetectionPost) -> Detection:
    """A detection as it is kept. Attributes that are not an object are kept under `_client`."""
    raw = bytes(post.attributes)
    if raw != b"{}":
        raw = _attributes(place, raw)
    track = post.track_id
    return Detection(place, post.label, post.confidence, post.bbox, None if track in NO_TRACK else track, raw)


def _attributes(place: int, raw: bytes) -> bytes:
    try:
        value = _ATTRIBUTES.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(
            f"detections[{place}].attributes: not JSON that can be kept: {error}", code="bad_json"
        ) from None
    if value is None:
        return b"{}"
    if not isinstance(value, dict):
        return msgspec.json.encode({"_client": value})
    if "source" in value or "_prov" in value:
        return msgspec.json.encode({key: kept for key, kept in value.items() if key not in ("source", "_prov")})
    return raw


def _row(found: Detection, ids: Any) -> tuple[Any, ...]:
    x, y, w, h = found.bbox or (None, None, None, None)
    attributes = None if found.raw_attributes == b"{}" else found.raw_attributes.decode()
    label = None if found.label is None else ids(found.label)
    return found.index, label, found.confidence, x, y, w, h, found.track_id, attributes
