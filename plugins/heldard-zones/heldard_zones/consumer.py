"""Drives the engine from the log and puts what it says into effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heldard.plugin import Batch, Consumer, Effects, PluginContext, rfc3339
from heldard_zones import engine, store
from heldard_zones.engine import Step, ZoneEvent, ZoneSet
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import (
    LIVES_KEY,
    PARKED_KEY,
    TRACKS_KEY,
    CameraState,
    decode,
    encode_lives,
    encode_tracks,
)

REFUSALS_EVERY_MS = 60_000
HOUR_MS = 3_600_000


class Watched:
    """One camera in memory: its zones and the engine's state, as last committed or about to be."""

    def __init__(self, rows: Sequence[ZoneRow], timezone: str, state: CameraState, kept: bool) -> None:
        self.rows = list(rows)
        self.zones = ZoneSet(Zone(row, timezone) for row in rows if row.enabled)
        self.state = state
        self.tracks_kept = kept
        self.is_new = True
        self.refusals_ms = 0


def redrawn(zones: ZoneSet, before: Sequence[ZoneRow], rows: Sequence[ZoneRow], timezone: str) -> ZoneSet:
    """The enabled ones of `rows`; what did not change is the same zone as in `zones`, made of `before`."""
    known = {row.number: row for row in before}
    return ZoneSet(
        zones.every[row.number] if known.get(row.number) == row and row.number in zones.every else Zone(row, timezone)
        for row in rows
        if row.enabled
    )


class ZoneConsumer(Consumer):
    """All tasks' batches, one commit for events, occupancy and state.

    What must survive is written with every batch that changed it: where each track was, how far each confirmation
    has come. Losing that would change events; figures of diagnosis may be lost and are written once a minute.
    """

    name = "zones"

    def __init__(self, ctx: PluginContext, timezone: str) -> None:
        self._ctx = ctx
        self._store = store.Store(ctx)
        self.timezone = timezone
        self.cameras: dict[str, Watched] = {}

    async def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        rows = await self._store.zones(camera_id)
        self.cameras[camera_id] = Watched(rows, self.timezone, decode(state), TRACKS_KEY in state)

    def consume(self, batch: Batch, effects: Effects) -> None:
        camera = self.cameras[batch.camera_id]
        if camera.is_new:
            self._begin(camera, batch.at_ms, effects)
        if camera.zones.by_number:
            self._put(camera, engine.observe(camera.state, camera.zones, batch), effects)

    def tick(self, camera_id: str, now_ms: int, effects: Effects) -> None:
        camera = self.cameras[camera_id]
        if camera.is_new:
            self._begin(camera, now_ms, effects)
        if camera.state.next_due < now_ms:
            self._put(camera, engine.advance(camera.state, camera.zones, now_ms), effects)
        if now_ms >= camera.refusals_ms:
            camera.refusals_ms = now_ms + REFUSALS_EVERY_MS
            self._put_refusals(camera, now_ms, effects)

    def forget(self, camera_id: str) -> None:
        self.cameras.pop(camera_id, None)

    def redraw(self, camera: Watched, rows: Sequence[ZoneRow], effects: Effects) -> int:
        """Other zones from here on; when that is, in the lane's time. The rows themselves are the caller's to write."""
        at = max(effects.at_ms, camera.state.now)
        if camera.is_new:
            self._begin(camera, at, effects)
        new = redrawn(camera.zones, camera.rows, rows, self.timezone)
        step = engine.change_zones(camera.state, camera.zones, new, at)
        camera.rows, camera.zones = list(rows), new
        self._put(camera, step, effects)
        return at

    # --- effects ----------------------------------------------------------------------------------------------------

    def _begin(self, camera: Watched, at: int, effects: Effects) -> None:
        camera.is_new = False
        self._put(camera, engine.settle(camera.state, camera.zones, at), effects)

    def _put(self, camera: Watched, step: Step, effects: Effects) -> None:
        for event in step.events:
            self._put_event(event, effects)
        for figures in step.occupancy:
            store.put_occupancy(effects, figures)
        state = camera.state
        if state.dirty_tracks:
            state.dirty_tracks = False
            keep = state.is_worth_keeping()
            if keep or camera.tracks_kept:
                effects.put_state(TRACKS_KEY, encode_tracks(state.tracks) if keep else None)
                camera.tracks_kept = keep
        if state.dirty_parked:
            state.dirty_parked = False
            effects.put_state(PARKED_KEY, encode_tracks(state.parked) if state.parked else None)
        if state.dirty_lives:
            state.dirty_lives = False
            effects.put_state(LIVES_KEY, encode_lives(state.lives) if state.lives else None)

    def _put_event(self, event: ZoneEvent, effects: Effects) -> None:
        zone = event.zone
        evidence = None if zone.shadow else effects.keep_frame(event.frame)
        if event.type != "static_suppressed":
            store.insert_event(effects, event, evidence, self._ctx.clock.now_ms())
        if not zone.shadow:
            severity = "info" if event.type in _QUIET else zone.severity
            effects.event(
                f"zone_{event.type}", payload=payload(event, evidence), severity=severity, at_ms=event.at,
                evidence=evidence,
            )  # fmt: skip

    def _put_refusals(self, camera: Watched, now_ms: int, effects: Effects) -> None:
        for zone in camera.zones.every.values():
            counts = {gate: count for gate, count in zone.refused.items() if count}
            if counts:
                store.add_refusals(effects, zone.id, now_ms - now_ms % HOUR_MS, counts)
                zone.refused.update(dict.fromkeys(counts, 0))


_QUIET = frozenset({"static_suppressed", "occupancy_normal"})


def payload(event: ZoneEvent, evidence: str | None) -> dict[str, Any]:
    """What the event says to the outside: upstream's fields first, then ours. Times are RFC 3339."""
    said: dict[str, Any] = {
        "zone_id": event.zone.id,
        "zone": event.zone.name,
        "track_id": event.track_id,
        "label": event.label,
        "dwell_seconds": event.dwell_s,
        "evidence": evidence_path(evidence),
    }
    ours = {
        "task": event.task,
        "confidence": event.confidence,
        "bbox": event.box,
        "visit": event.visit,
        "reason": event.reason,
        "captured_at": None if event.frame is None else rfc3339(event.frame),
    }
    said.update({key: value for key, value in ours.items() if value is not None})
    for key, value in event.extra.items():
        if key.endswith("_ms"):
            said[f"{key.removesuffix('_ms')}_at"] = rfc3339(value)
        else:
            said[key] = value
    return said


def evidence_path(name: str | None) -> str | None:
    return None if name is None else f"/media/snapshots/{name}"
