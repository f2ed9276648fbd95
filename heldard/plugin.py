"""Everything a plugin imports. Nothing else in heldard is public to plugins, except `heldard.testing` for their tests.

A plugin is a distribution with an entry point in the group `heldard` naming a module or an object with functions
marked `@hookimpl`; `heldard.hookspecs` says which functions there are. The centre of most plugins is a `Consumer`:

    class Counter(Consumer):
        name = "counter"

        def consume(self, batch: Batch, effects: Effects) -> None:
            effects.event("counter_seen", payload={"detections": len(batch.detections)})

Time is integer milliseconds since the Unix epoch (`..._ms`). Boxes are `(x, y, width, height)` as shares of the
picture, 0..1 from the top left corner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import msgspec
import pluggy

from heldard.api.endpoint import PRINCIPAL, Endpoint, Principal, Query, Reply, read_body, route
from heldard.client import call as call_api
from heldard.clock import Clock, parse_rfc3339, rfc3339
from heldard.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    HeldardError,
    InvalidError,
    NotFoundError,
)
from heldard.ids import new as new_id
from heldard.ids import of_row, row_of

__all__ = [
    "API_VERSION",
    "PRINCIPAL",
    "ActionHandler",
    "ActionOutcome",
    "Batch",
    "Box",
    "BusyError",
    "CameraInfo",
    "Clock",
    "ConflictError",
    "Consumer",
    "Delivery",
    "Detection",
    "Effects",
    "Endpoint",
    "Eraser",
    "Erasure",
    "EventDraft",
    "EventType",
    "ForbiddenError",
    "Frame",
    "HeldardError",
    "InvalidError",
    "Migrations",
    "NotFoundError",
    "PluginContext",
    "PluginInfo",
    "Principal",
    "Provenance",
    "Query",
    "Recogniser",
    "Reply",
    "RunsIn",
    "Service",
    "Severity",
    "Traces",
    "Tx",
    "call_api",
    "hookimpl",
    "new_id",
    "of_row",
    "parse_rfc3339",
    "read_body",
    "rfc3339",
    "route",
    "row_of",
]

API_VERSION = (1, 1)
"""(major, minor) of this contract. A major change breaks plugins; a minor one adds. 1.1 added erasers."""

hookimpl = pluggy.HookimplMarker("heldard")

Box = tuple[float, float, float, float]
Severity = Literal["info", "warning", "critical"]
Delivery = Literal["effects", "at_most_once"]
RunsIn = Literal["loop", "thread", "process"]
T = TypeVar("T")


# --- what a consumer is given ---------------------------------------------------------------------------------------


class Provenance(msgspec.Struct, frozen=True, gc=False):
    """Who made a batch, as the server knows it; nothing here is the client's word.

    source: `worker` for HTTP, `camera_native` for an in-process reader of the camera's own recognitions.
    producer: `apikey:<credential id>` or `kernel:<name>`.
    worker: the worker id of the lease the batch came under, None without one.
    """

    source: Literal["worker", "camera_native"] = "worker"
    producer: str = "apikey:system"
    worker: str | None = None


WORKER = Provenance()


class Detection(msgspec.Struct, frozen=True, gc=False):
    """One thing seen in one frame. Every field but `index` may be None: workers send what they know.

    index: place in the batch as posted, 0..999. confidence: 0..1. track_id: the worker's own, unique only within
    (camera, task, epoch); None, empty and "-1" all mean untracked and arrive as None.
    raw_attributes: the JSON object the worker sent, as bytes; `attributes` decodes it.
    """

    index: int
    label: str | None = None
    confidence: float | None = None
    bbox: Box | None = None
    track_id: str | None = None
    raw_attributes: bytes = b"{}"

    @property
    def attributes(self) -> dict[str, Any]:
        """The worker's attributes, decoded at each call. `source` and `_prov` are not in it: see `Batch.provenance`."""
        found: dict[str, Any] = msgspec.json.decode(self.raw_attributes)
        return found

    @property
    def ground_point(self) -> tuple[float, float] | None:
        """Bottom centre of the box, not clamped."""
        if self.bbox is None:
            return None
        x, y, w, h = self.bbox
        return x + w / 2, y + h


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and when it was taken. Immutable.

    frame_id: canonical, `<camera>:<profile>:<capture ms>`. sequence: rises by one per frame of a stream's run.
    """

    frame_id: str
    camera_id: str
    profile: str
    captured_ms: int
    sequence: int
    width: int
    height: int
    jpeg: bytes = field(repr=False)


class FrameSource(Protocol):
    """Where analysed frames can still be had: the rings in memory, then kept evidence."""

    def find(self, camera_id: str, captured_ms: int) -> Frame | None:
        """The frame of that camera taken at exactly that millisecond, or None when it is no longer held."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The detections of one analysed frame, as committed to the log.

    seq: place in the log, rises. at_ms: the trusted time of what is seen; never the worker's clock, and it never runs
    backwards within a camera. captured_ms: when the frame was taken, None when the frame is not known to the kernel.
    received_ms: when the post arrived. epoch: identity of the worker's run; track ids of two epochs are unrelated.
    frame_id: what the worker sent after `w:`, the space of workers' ids; None when it sent none. replayed: not
    the first time it is offered.
    """

    seq: int
    camera_id: str
    task_type: str
    at_ms: int
    received_ms: int
    detections: tuple[Detection, ...]
    site_id: str | None = None
    task_id: str | None = None
    epoch: str = ""
    frame_id: str | None = None
    captured_ms: int | None = None
    provenance: Provenance = WORKER
    replayed: bool = False
    frames: FrameSource | None = field(default=None, repr=False, compare=False)

    def frame(self) -> Frame | None:
        """The picture these detections were made from, while it is still held; else None."""
        if self.frames is None or self.captured_ms is None:
            return None
        return self.frames.find(self.camera_id, self.captured_ms)


# --- what a consumer gives back -------------------------------------------------------------------------------------


class EventDraft(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into the log of events. `evidence`: the name `Effects.keep_frame` gave, or None."""

    event_type: str
    at_ms: int
    severity: Severity
    camera_id: str | None
    payload: dict[str, Any]
    evidence: str | None = None


class Tx(Protocol):
    """A connection inside the unit of work that commits a claim. It reaches the plugin's own tables only."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; all its rows. Raises ForbiddenError for another's table, sqlite3.Error as SQLite does."""

    def fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """As `execute`, with each row by its column names, like `PluginContext.fetch`."""

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""

    @property
    def last_row_id(self) -> int:
        """The rowid of the last insert through this Tx."""

    def event(
        self,
        event_type: str,
        *,
        payload: dict[str, Any],
        at_ms: int,
        severity: Severity = "info",
        camera_id: str | None = None,
        evidence: str | None = None,
    ) -> str:
        """Write an event in this same unit; its public id."""

    def act(self, kind: str, *, payload: dict[str, Any], expires_ms: int, key: str) -> None:
        """As `Effects.act`, for an action that what this unit reads decides about."""


class ActionDraft(msgspec.Struct, frozen=True):
    """Something to be done in the world, at most once. See `Effects.act`."""

    kind: str
    payload: dict[str, Any]
    expires_ms: int
    key: str


class Effects:
    """What a consumer wants to have happened. The kernel commits all of it with the claim, or none of it.

    Nothing is written while `consume` runs: calls are remembered in order and carried out inside one unit of work.
    """

    __slots__ = ("_frames", "actions", "at_ms", "camera_id", "frames", "operations", "state")

    def __init__(self, camera_id: str, at_ms: int, frames: FrameSource | None = None) -> None:
        self.camera_id = camera_id
        self.at_ms = at_ms
        self.operations: list[EventDraft | tuple[str, Sequence[Any]] | Callable[[Tx], None]] = []
        self.state: dict[str, bytes | None] = {}
        self.frames: dict[str, Frame] = {}
        self.actions: list[ActionDraft] = []
        self._frames = frames

    def __bool__(self) -> bool:
        return bool(self.operations or self.state or self.frames or self.actions)

    def event(
        self,
        event_type: str,
        *,
        payload: dict[str, Any],
        severity: Severity = "info",
        at_ms: int | None = None,
        evidence: str | None = None,
    ) -> None:
        """An event of this camera. `event_type` must be registered; `at_ms` defaults to the batch's trusted time."""
        at = self.at_ms if at_ms is None else at_ms
        self.operations.append(EventDraft(event_type, at, severity, self.camera_id, payload, evidence))

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """A statement on the plugin's own tables, whose rows nobody waits for."""
        self.operations.append((sql, parameters))

    def transact(self, work: Callable[[Tx], None]) -> None:
        """Read and write the plugin's own tables inside the unit. `work` runs on the writer's thread: no awaiting,
        no other state than its arguments; it may run again when the unit is retried."""
        self.operations.append(work)

    def put_state(self, key: str, value: bytes | None) -> None:
        """Keep `value` under `key` for this consumer and camera; None forgets it. Given back by `Consumer.restore`."""
        self.state[key] = value

    def keep_frame(self, captured_ms: int | None) -> str | None:
        """Keep this camera's frame of that capture time as evidence; its name for `evidence=`, or None when the frame
        is not held any more. The same frame kept twice is stored once."""
        frame = None if captured_ms is None or self._frames is None else self._frames.find(self.camera_id, captured_ms)
        if frame is None:
            return None
        name = f"{frame.camera_id}-{frame.profile}-{frame.captured_ms}.jpg"
        self.frames[name] = frame
        return name

    def act(self, kind: str, *, payload: dict[str, Any], expires_ms: int, key: str) -> None:
        """Have the registered action handler of `kind` run once this is committed, at most once.

        It is not run after `expires_ms`, nor twice for one `key` (within the consumer), nor again after a crash that
        came while it ran: it then ends as `interrupted`.
        """
        self.actions.append(ActionDraft(kind, payload, expires_ms, key))


class Consumer:
    """Takes the batches of one or more task types, camera by camera, in log order.

    name: unique among all plugins, `[a-z0-9_]{1,64}`; it is written beside every claim, so it never changes.
    delivery: `effects` commits claim and effects together (exactly once); `at_most_once` commits the claim first.
    runs_in: where its methods run. `loop`: on the event loop, which must not be held: named at 250 ms, interrupted
    and quarantined at a second. `thread`: in one thread of its own. `process`: in a process of its own, which the
    consumer is sent to as a pickle; of the context only settings, clock, site_id, timezone, fetch and frame work
    there, and what `Effects.transact` is given must be a function of a module. Each method has 10 s
    (`fanout.consume_timeout_s`).
    task_types: which tasks' batches are wanted, compared without case; None for all.
    """

    name: ClassVar[str]
    delivery: ClassVar[Delivery] = "effects"
    runs_in: ClassVar[RunsIn] = "loop"
    task_types: ClassVar[frozenset[str] | None] = None

    def wants(self, task_type: str) -> bool:
        """Whether batches of this task type are for this consumer. Must always give the same answer."""
        return self.task_types is None or task_type.lower() in self.task_types

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> Awaitable[None] | None:
        """Forget what is in memory of this camera and take up `state`, what `put_state` last committed.

        Called before a camera's first batch and again whenever effects could not be committed.
        """

    def consume(self, batch: Batch, effects: Effects) -> Awaitable[None] | None:
        """Work out the effects of one batch. Implies that time has come to `batch.at_ms`.

        Raising means: nothing happened. The kernel restores the state and tries again later.
        """
        raise NotImplementedError(f"consumer {self.name} does not consume")

    def tick(self, camera_id: str, now_ms: int, effects: Effects) -> Awaitable[None] | None:
        """Time has come to `now_ms` without a batch. About once a second per camera that was restored.

        How often this is called must not matter: date what became due by when it was due, not by `now_ms`.
        """

    def forget(self, camera_id: str) -> None:
        """The camera was deleted; its state and lane are gone."""


# --- what else a plugin can bring -----------------------------------------------------------------------------------


class PluginInfo(msgspec.Struct, frozen=True):
    """Who a plugin is. `api`: the majors and minors of the contract it works with, such as `>=1.0,<2`.

    tables: names or `prefix_*` patterns of the tables it owns; `<name>_*` when empty. derived: those of them that its
    consumers make from the log alone, so that a replay begins with them empty.
    """

    name: str
    version: str
    api: str
    summary: str = ""
    tables: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


class Migrations(msgspec.Struct, frozen=True):
    """Numbered SQL files, `0001_what.sql` on, inside an importable package's folder."""

    package: str
    folder: str = "migrations"


class EventType(msgspec.Struct, frozen=True):
    """A type of event the plugin raises, shown by `GET /api/v1/events/types`.

    of_action: raised when an action was carried out, so that a replay, which carries out none, does not raise it.
    """

    event_type: str
    description: str
    of_action: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """Background work for as long as the daemon runs; restarted with backoff when it raises or returns."""

    name: str
    run: Callable[[], Awaitable[None]]


ActionOutcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ActionHandler:
    """Carries out actions of one kind. `run(payload)` returns what to record; raising records the failure.

    timeout_s: when it is given up and recorded as failed. It is never run again for the same action.
    """

    kind: str
    run: Callable[[dict[str, Any]], Awaitable[ActionOutcome]]
    timeout_s: float = 10.0


Recogniser = Callable[[str, str | None, int | None], bool]


@dataclass(frozen=True, slots=True)
class Traces:
    """How to tell a subject in what the kernel keeps. frames: names of kept frames that show it.

    names(text, camera_id, at_ms): whether a text names it. Camera and trusted time are those of the batch it stands in,
    None for a text in an event or an action. Called for very many texts, in a thread: it must not wait or write.
    """

    names: Recogniser
    frames: Sequence[str] = ()


class Eraser:
    """Knows one kind of subject, such as plates, so that all that is stored about one can be erased on request.

    kind: `[a-z0-9_]{1,64}`, one eraser each. The kernel goes through detections, actions, the audit log, events and
    what waits to be sent; a text that names the subject becomes null, frames that show it go. Between two steps the
    daemon may end: it goes on where it stood, after `trace` was called again.
    """

    kind: ClassVar[str]

    async def trace(self, subject: str) -> Traces:
        """Let go of what is under way about the subject, and say how to tell it. May be called several times."""
        raise NotImplementedError(f"eraser of {self.kind} does not trace")

    def forget(self, tx: Tx, subject: str, options: Mapping[str, Any]) -> dict[str, int]:
        """Delete some of what the plugin's own tables hold of it, a few hundred rows; how much went, by name. Called
        until nothing goes any more."""
        raise NotImplementedError(f"eraser of {self.kind} does not forget")


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """How an erasure stands. counts: what went so far, by place. error: why it waits, when it does."""

    id: str
    done: bool
    counts: dict[str, int]
    error: str | None = None


class CameraInfo(msgspec.Struct, frozen=True):
    """What plugins may know of a camera: no address, no credential."""

    id: str
    name: str
    site_id: str | None
    enabled: bool
    priority: int = 100


class PluginContext(Protocol):
    """What the kernel offers to a plugin's hooks. One per plugin, for the life of the daemon."""

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> Any:
        """The plugin's settings struct, read from `[plugins.<name>]`."""

    @property
    def clock(self) -> Clock: ...
    @property
    def site_id(self) -> str | None: ...
    @property
    def timezone(self) -> str:
        """The site's time zone, such as `Europe/Berlin`."""

    @property
    def log(self) -> Any:
        """A structlog logger bound to the plugin's name."""

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of the plugin's own tables, read beside the writer."""

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` as one unit of work; its result after the commit."""

    async def in_lane(self, consumer: str, camera_id: str, work: Callable[[Effects], T]) -> T:
        """Run `work` between two batches of that consumer and camera, on the event loop, and commit what it put into
        the effects; its result after the commit. The way to change settings that the consumer's state depends on."""

    async def camera(self, camera_id: str) -> CameraInfo:
        """Raises NotFoundError for an unknown camera."""

    async def cameras(self) -> list[CameraInfo]: ...

    def frame(self, camera_id: str, captured_ms: int) -> Frame | None:
        """A frame that is still held in memory or kept as evidence."""

    def evidence_path(self, name: str) -> Path | None:
        """Where a frame that was kept under `name` lies; None when there is none."""

    def batches(self, camera_id: str, from_ms: int, to_ms: int) -> AsyncIterator[Batch]:
        """Stored batches of a camera with from_ms <= at_ms < to_ms, in log order."""

    async def erase(
        self, kind: str, subject: str, *, by: str, options: Mapping[str, Any] | None = None, wait_s: float = 20.0
    ) -> Erasure:
        """Have everything erased that is stored about a subject, through the registered eraser of that kind, whose
        `options` these are. Durable: what a crash interrupts goes on. Returns when done, or after `wait_s`. `by`: who
        asked. Raises NotFoundError when nobody erases that kind."""
