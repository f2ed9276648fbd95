"""What a proposed zone would have said about stored detections, and how that differs from what the live one said."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec

from heldard.plugin import BusyError, InvalidError, parse_rfc3339, rfc3339
from heldard_zones.engine import ZoneEvent
from heldard_zones.engine.rules import ZoneRow
from heldard_zones.model import ZoneCreate
from heldard_zones.replay import History, Replay, over_log
from heldard_zones.service import Zones
from heldard_zones.store import Version

NEAR_MS = 15_000
"""How far apart two events of one kind and track may lie and still be the same one, moved."""
SHOWN = 5_000
"""Events listed in an answer; counts are of all."""


class BacktestRequest(msgspec.Struct, frozen=True, kw_only=True):
    """zone: the proposal; without one, the zone of `zone_id` as it is. zone_id: the zone whose live events it is
    compared with, by default the camera's zone of the same name. lead_seconds: how long before `from` the run begins,
    so that who is inside then is known; events before `from` are left out.
    """

    from_: str = msgspec.field(name="from")
    to: str
    zone: ZoneCreate | None = None
    zone_id: str | None = None
    lead_seconds: Annotated[float, msgspec.Meta(ge=0, le=7 * 86_400)] = 120.0


class TriedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    event_type: str
    timestamp: str
    track_id: str | None = None
    label: str | None = None
    dwell_seconds: float | None = None
    visit: str | None = None
    reason: str | None = None
    bbox: list[float] | None = None


class Moved(msgspec.Struct, frozen=True):
    was: str
    event: TriedEvent
    seconds: float


class Difference(msgspec.Struct, frozen=True):
    """Against the live events of `zone_id`. moved: same kind and track at another time."""

    zone_id: str
    same: int
    added: list[TriedEvent]
    gone: list[TriedEvent]
    moved: list[Moved]


class BacktestResult(msgspec.Struct, frozen=True):
    from_: str = msgspec.field(name="from")
    to: str
    batches: int
    detections: int
    counts: dict[str, int]
    refused: dict[str, int]
    events: list[TriedEvent]
    truncated: bool
    difference: Difference | None


class Backtests:
    """One at a time: it takes a processor that the live camera needs too."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._lock = asyncio.Lock()

    async def run(self, camera_id: str, asked: BacktestRequest) -> BacktestResult:
        if self._lock.locked():
            raise BusyError("another backtest is running: try again when it is done", code="backtest_running")
        async with self._lock:
            return await self._run(camera_id, asked)

    async def _run(self, camera_id: str, asked: BacktestRequest) -> BacktestResult:
        ctx = self._zones.ctx
        await ctx.camera(camera_id)
        from_ms, to_ms = _moment(asked.from_, "from"), _moment(asked.to, "to")
        if from_ms >= to_ms:
            raise InvalidError("from: must be before to", code="bad_range")
        rows = await self._zones.store.zones(camera_id)
        proposed, live = self._proposal(camera_id, asked, rows)
        if proposed.kind == "mask":
            raise InvalidError("zone: a mask raises nothing to compare", code="mask_has_no_events")
        begin_ms = from_ms - round(asked.lead_seconds * 1000)
        versions = await self._zones.store.versions(camera_id, begin_ms, to_ms)
        number = live.number if live is not None else await self._zones.store.highest_number() + 1
        history = History(in_place(versions, proposed, number), begin_ms, to_ms)
        replay = Replay(history, number, self._zones.consumer.timezone, begin_ms)
        most = ctx.settings.max_backtest_detections
        await over_log(ctx, camera_id, begin_ms, to_ms, most, replay.feed)
        replay.end(to_ms)
        events = [event for event in replay.events if from_ms <= event.at < to_ms]
        difference = None if live is None else await self._compare(live, events, from_ms, to_ms)
        return _result(asked, replay, events, difference)

    def _proposal(self, camera_id: str, asked: BacktestRequest, rows: list[ZoneRow]) -> tuple[ZoneRow, ZoneRow | None]:
        """(the zone to run, the live one it stands for)."""
        live = None
        if asked.zone_id is not None:
            live = next((row for row in rows if row.id == asked.zone_id), None)
            if live is None:
                raise InvalidError("zone_id: is not a zone of this camera", code="zone_of_another_camera")
        if asked.zone is None:
            if live is None:
                raise InvalidError("zone: give a zone to try, or the zone_id of one there is", code="no_zone")
            return live, live
        if live is None:
            live = next((row for row in rows if row.name == asked.zone.name), None)
        return self._zones.proposed(camera_id, asked.zone), live

    async def _compare(self, live: ZoneRow, events: list[ZoneEvent], from_ms: int, to_ms: int) -> Difference:
        most = self._zones.ctx.settings.max_backtest_detections
        rows = await self._zones.store.events_of_zone(live.id, from_ms, to_ms, most)
        return difference(live.id, rows, events)


def in_place(versions: list[Version], proposed: ZoneRow, number: int) -> list[Version]:
    """All zones of the camera as they were, with the proposal in the live one's place from the beginning on: whether a
    track is an old one under a new name depends on every zone it was in."""
    proposal = Version(-1, None, msgspec.structs.replace(proposed, number=number, enabled=True))
    return [proposal, *(version for version in versions if version.row.number != number)]


def difference(zone_id: str, rows: list[dict[str, Any]], events: list[ZoneEvent]) -> Difference:
    """Pair each tried event with the nearest live one of its kind and track, exact times first."""
    live: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for row in rows:
        live.setdefault((row["event_type"], row["track_id"]), []).append(row)
    same, open_events = 0, []
    for event in events:
        candidates = live.get((event.type, event.track_id), [])
        exact = next((row for row in candidates if row["at_ms"] == event.at), None)
        if exact is None:
            open_events.append(event)
        else:
            candidates.remove(exact)
            same += 1
    added, moved = [], []
    for event in open_events:
        candidates = live.get((event.type, event.track_id), [])
        at = event.at
        nearest = min(candidates, key=lambda row: abs(row["at_ms"] - at), default=None)
        if nearest is None or abs(nearest["at_ms"] - at) > NEAR_MS:
            added.append(_tried(event))
        else:
            candidates.remove(nearest)
            moved.append(Moved(rfc3339(nearest["at_ms"]), _tried(event), (at - nearest["at_ms"]) / 1000))
    gone = sorted((row for left in live.values() for row in left), key=lambda row: row["at_ms"])
    return Difference(zone_id, same, added[:SHOWN], [_was(row) for row in gone[:SHOWN]], moved[:SHOWN])


def _result(
    asked: BacktestRequest, replay: Replay, events: list[ZoneEvent], difference: Difference | None
) -> BacktestResult:
    counts: dict[str, int] = {}
    for event in events:
        counts[event.type] = counts.get(event.type, 0) + 1
    told = [event for event in events if event.type != "static_suppressed"]
    refused = {gate: count for gate, count in replay.refused.items() if count}
    return BacktestResult(
        asked.from_, asked.to, replay.batches, replay.detections, counts, refused,
        [_tried(event) for event in told[:SHOWN]], len(told) > SHOWN, difference,
    )  # fmt: skip


def _tried(event: ZoneEvent) -> TriedEvent:
    box = None if event.box is None else list(event.box)
    return TriedEvent(
        event.type, rfc3339(event.at), event.track_id, event.label, event.dwell_s, event.visit, event.reason, box
    )


def _was(row: dict[str, Any]) -> TriedEvent:
    return TriedEvent(
        row["event_type"], rfc3339(row["at_ms"]), row["track_id"], row["label"], row["dwell_seconds"], row["visit"],
        row["reason"],
    )  # fmt: skip


def _moment(text: str, name: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidError(f"{name}: {error}", code="bad_timestamp") from None
