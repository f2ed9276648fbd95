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
from heldard.db.group import Outcome
from heldard.db.names import Names
from heldard.errors import InvalidError
from heldard.events.service import Events
from heldard.fanout.service import Fanout
from heldard.ingest import frame_id as frame_ids
from heldard.ingest.log import (
    COLUMNS,
    FRAME_KEY,
    WORKER_SPACE,
    DetectionLog,
    LogEntry,
    append,
    frame_text,
    label_mask,
    provenance_of,
    size_of,
)
from heldard.ingest.model import MAX_DETECTIONS, BatchPost, DetectionPost, EventPost, Receipt
from heldard.ingest.sources import Channel, Source, Sources
from heldard.metrics import Meter
from heldard.plugin import Batch, Detection, EventDraft, FrameSource, Severity
from heldard.tasks.service import Tasks

RESERVED_PREFIXES = ("gate_", "entry_", "zone_", "camera_", "disk_", "raid_")
"""Types of events that only the kernel and its plugins may raise."""

NO_TRACK = frozenset({"", "-1", "null", "None"})
"""Track ids that trackers write when they mean none; two things of one such id are not the same thing."""

NO_BOX = (None, None, None, None)

MAX_DEPTH = 64
"""Levels of nesting that attributes and payloads may have."""

RECENT_FRAMES = 8192
"""Frames remembered at least, to know a duplicate before the log says so."""

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
        fanout: Fanout, detection_log: DetectionLog, frames: FrameSource, clock: Clock, settings: IngestSettings,
    ) -> None:  # fmt: skip
        self._db = db
        self._names = names
        self.sources = sources
        self._cameras = cameras
        self._tasks = tasks
        self._events = events
        self._fanout = fanout
        self._log = detection_log
        self._frames = frames
        self._clock = clock
        self._wait_s = settings.fanout_wait_ms / 1000
        self.recent = RecentFrames()
        self.check_room: Callable[[], None] = lambda: None
        self.meter = Meter()

    def reconfigure(self, settings: IngestSettings) -> None:
        """Take up settings that can change while the daemon runs."""
        self._wait_s = settings.fanout_wait_ms / 1000

    async def take(self, post: BatchPost, binding: Binding) -> Receipt:
        """Store a batch once and answer after its commit, and after its consumers or `fanout_wait`, whichever is first.

        Raises NotFoundError for the camera, InvalidError for any bad value, BusyError or StoreError when it could not
        be written, DiskFullError when only the disk's reserve is left; in each case nothing was.
        """
        return await (await self.admit(post, binding))

    async def admit(self, post: BatchPost, binding: Binding) -> asyncio.Future[Receipt]:
        """Check a batch and queue it; its receipt follows. Batches admitted one after the other are logged in that
        order, so many can be under way at once. Raises and fails as `take` does."""
        self.check_room()
        checked = self._check(post, binding)
        await self._intern(checked)
        self._cameras.get(binding.camera_id)  # it may have been deleted meanwhile, and must not get lanes again
        return self._submit(checked)

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

    def _submit(self, checked: _Checked) -> asyncio.Future[Receipt]:
        """Nothing awaits in here, so that trusted time rises with the place in the log."""
        wanted = checked.captured_ms if checked.captured_ms is not None else checked.received_ms
        at_ms = self._fanout.begin(checked.source.camera_id, wanted)
        try:
            seq = self._log.next_place()
            entry, batch = self._entry(checked, seq, at_ms), self._batch(checked, seq, at_ms)
            admission = _Admission(checked, entry, batch, self._events, self._committed)
            self._db.writer.submit_and_tell(admission.unit, admission.told, size_of(entry))
        except BaseException:
            self._fanout.end(checked.source.camera_id)
            raise
        if self.recent.is_new(entry.batch[FRAME_KEY]):
            self._fanout.foresee(batch)
        return admission.receipt

    def _committed(self, admission: _Admission, outcome: Outcome) -> None:
        """After the commit, or instead of it: hand the batch on, and answer now or when its consumers have ended."""
        checked = admission.checked
        self._fanout.end(checked.source.camera_id)
        if outcome.error is not None:
            admission.fail(outcome.error)
            return
        seq, fresh, event_seq = outcome.value
        if not fresh:
            self.meter.duplicates += 1
            admission.answer(Receipt(0, ticketed=checked.ticketed, seq=seq, duplicate=True))
            return
        now_ms = self._clock.now_ms()
        self.meter.committed(checked.captured_ms, checked.received_ms, now_ms, len(checked.detections))
        if event_seq is not None and admission.entry.event is not None:
            self._events.announce([(event_seq, admission.entry.event)])
        prompt = self._fanout.offer(admission.batch, admission.delivered)
        if prompt and self._wait_s > 0:
            admission.wait(self._wait_s)
        else:
            admission.late()

    def _entry(self, checked: _Checked, seq: int, at_ms: int) -> LogEntry:
        ids = self._names.id
        source = checked.source
        finished_ms = None if self._fanout.interested(source.task_type) else checked.received_ms
        reported_ms = checked.reported_ms if checked.reported_ms is not None else at_ms
        columns = _columns(checked.detections, ids)
        return LogEntry(
            batch=(
                seq, ids(source.camera_id), self.sources.source_id(source), self.sources.channel_id(checked.channel),
                checked.frame, at_ms, reported_ms, checked.captured_ms, checked.received_ms,
                len(checked.detections), label_mask(columns[::COLUMNS]), finished_ms,
            ),
            detections=columns,
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


class RecentFrames:
    """Frames that came lately, so that most duplicates are known for such before the log says so."""

    def __init__(self) -> None:
        self._younger: set[tuple[Any, ...]] = set()
        self._older: set[tuple[Any, ...]] = set()

    def is_new(self, key: tuple[Any, ...]) -> bool:
        """Whether this (channel, frame) is not one of the last; a batch without a frame always is new."""
        if key[1] is None:
            return True
        known = key in self._younger or key in self._older
        if len(self._younger) >= RECENT_FRAMES:
            self._older, self._younger = self._younger, set()
        self._younger.add(key)
        return not known


class _Admission:
    """One batch on its way into the log: its unit of work, and its receipt when that is known."""

    __slots__ = ("_events", "_on_end", "_timer", "batch", "checked", "entry", "receipt")

    def __init__(
        self, checked: _Checked, entry: LogEntry, batch: Batch, events: Events,
        on_end: Callable[[_Admission, Outcome], None],
    ) -> None:  # fmt: skip
        self.checked = checked
        self.entry = entry
        self.batch = batch
        self.receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._events = events
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None

    def unit(self, connection: sqlite3.Connection) -> tuple[int, bool, int | None]:
        """(place in the log, whether it is new, place of its event)."""
        seq, fresh = append(connection, self.entry)
        event_seq = self._events.insert(connection, self.entry.event) if fresh and self.entry.event else None
        return seq, fresh, event_seq

    def told(self, outcome: Outcome) -> None:
        try:
            self._on_end(self, outcome)
        finally:
            if self._timer is None:
                self.late()  # nothing more will come; whoever waits is not left waiting

    def wait(self, seconds: float) -> None:
        """Answer when `delivered` is called, at the latest after so many seconds."""
        if not self.receipt.done():
            self._timer = self.receipt.get_loop().call_later(seconds, self.late)

    def delivered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._answer_fresh(fanned_out=True)

    def late(self) -> None:
        self._answer_fresh(fanned_out=False)

    def _answer_fresh(self, *, fanned_out: bool) -> None:
        count = len(self.checked.detections)
        self.answer(Receipt(count, ticketed=self.checked.ticketed, seq=self.batch.seq, fanned_out=fanned_out))

    def answer(self, receipt: Receipt) -> None:
        if not self.receipt.done():
            self.receipt.set_result(receipt)

    def fail(self, error: BaseException) -> None:
        if not self.receipt.done():
            self.receipt.set_exception(error)


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
    check_depth(payload, "event.payload")
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
    check_depth(value, f"detections[{place}].attributes")
    if not isinstance(value, dict):
        return msgspec.json.encode({"_client": value})
    if "source" in value or "_prov" in value:
        return msgspec.json.encode({key: kept for key, kept in value.items() if key not in ("source", "_prov")})
    return raw


def check_depth(value: Any, where: str) -> None:
    """Raises InvalidError for JSON nested so deeply that it could be stored but not shown again."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise InvalidError(f"{where}: nested more than {MAX_DEPTH} deep", code="too_deep")


def _columns(detections: tuple[Detection, ...], ids: Callable[[str], int | None]) -> list[Any]:
    """The columns of all detections, one after the other."""
    columns: list[Any] = []
    for found in detections:
        x, y, w, h = found.bbox or NO_BOX
        attributes = None if found.raw_attributes == b"{}" else found.raw_attributes.decode()
        label = None if found.label is None else ids(found.label)
        columns += (label, found.confidence, x, y, w, h, found.track_id, attributes)
    return columns
