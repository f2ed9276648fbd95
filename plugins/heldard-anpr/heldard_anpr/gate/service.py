"""Opening: the action handler, the manual opening, and what becomes of openings nobody heard the end of."""

from __future__ import annotations

from functools import partial
from typing import Any

from heldard.plugin import ActionHandler, ActionOutcome, InvalidError, PluginContext, Tx, new_id
from heldard_anpr import sql
from heldard_anpr.caller import Caller
from heldard_anpr.gate.actuators import Actuator, ActuatorError, actuator, pulse, switch_off
from heldard_anpr.settings import Settings

SQL = sql.load("heldard_anpr.gate")

ACTION_TIMEOUT_S = 100.0
"""Longest pulse (30 s), switching off twice, and the longest time limits of both."""

STALE_AFTER_MS = 150_000
"""So long after an opening ran out, nothing is going to be heard of it: the daemon was stopped while it ran."""


class Gate:
    """Knows each camera's actuator. Whether to open was decided before; here only what must hold at that moment."""

    def __init__(self, ctx: PluginContext, settings: Settings) -> None:
        self.ctx = ctx
        self.actuators: dict[str, Actuator] = {
            camera_id: actuator(known.actuator)
            for camera_id, known in settings.cameras.items()
            if known.actuator is not None
        }
        self._under_way: set[str] = set()

    @property
    def handler(self) -> ActionHandler:
        return ActionHandler("gate_open", self.run, ACTION_TIMEOUT_S)

    async def run(self, payload: dict[str, Any]) -> ActionOutcome:
        """Carry out one opening that was asked for. The kernel runs this at most once, and not when it is stale."""
        refusal = await self._forbidden(payload["camera_id"], by_hand=False)
        if refusal is not None:
            await self._end(payload, "refused", refusal.code)
            return {"state": "refused", "reason": refusal.code}
        try:
            await self._pulse(payload)
        except ActuatorError as error:
            await self._end(payload, "failed", str(error))
            return {"state": "failed", "error": str(error)}
        await self._end(payload, "opened", None)
        return {"state": "opened"}

    async def open_by_hand(self, camera_id: str, by: Caller) -> int:
        """Open now; the length of the pulse. Raises InvalidError with what is in the way, or what the device said."""
        refusal = await self._forbidden(camera_id, by_hand=True)
        if refusal is not None:
            raise refusal
        policy = (await self.ctx.fetch(SQL["policy"], [camera_id]))[0]
        now = self.ctx.clock.now_ms()
        key = new_id("open")
        payload = {
            "key": key, "camera_id": camera_id, "event_id": None, "plate": None, "port": policy["output_port"],
            "pulse_ms": policy["pulse_ms"], "mode": "manual", "by": by.name,
        }  # fmt: skip
        asked = [key, camera_id, now, now + STALE_AFTER_MS, by.name]
        await self.ctx.write(lambda tx: tx.execute(SQL["ask"], asked))
        try:
            await self._pulse(payload)
        except ActuatorError as error:
            await self._end(payload, "failed", str(error))
            raise InvalidError(f"the gate at {camera_id} did not open: {error}", code="gate_device") from None
        await self._end(payload, "opened", None)
        return int(policy["pulse_ms"])

    async def _forbidden(self, camera_id: str, *, by_hand: bool) -> InvalidError | None:
        """What is in the way at this moment, or None."""
        gate = f"the gate at {camera_id} stays shut"
        if (await self.ctx.fetch(SQL["settings"]))[0]["kill_switch"]:
            return InvalidError(f"{gate}: the kill switch is on", code="kill_switch")
        rows = await self.ctx.fetch(SQL["policy"], [camera_id])
        if not rows:
            return InvalidError(f"{gate}: it has no policy yet", code="no_policy")
        if not by_hand and not rows[0]["enabled"]:
            return InvalidError(f"{gate}: its policy is not enabled", code="policy_disabled")
        if camera_id not in self.actuators:
            return InvalidError(f"{gate}: no actuator is configured for that camera", code="no_actuator")
        return None

    async def _pulse(self, payload: dict[str, Any]) -> None:
        key = payload["key"]
        self._under_way.add(key)
        try:
            await self.ctx.write(lambda tx: tx.execute(SQL["run"], [key]))
            device = self.actuators[payload["camera_id"]]
            await pulse(device, self.ctx.clock, _words(payload), payload["pulse_ms"])
        finally:
            self._under_way.discard(key)

    async def _end(self, payload: dict[str, Any], state: str, detail: str | None) -> None:
        now = self.ctx.clock.now_ms()
        await self.ctx.write(partial(ended, payload=payload, state=state, detail=detail, now_ms=now))

    async def make_safe(self) -> None:
        """Openings that an earlier run of the daemon was carrying out when it ended: the output may be on, so it is
        switched off. That opens nothing."""
        for row in await self.ctx.fetch(SQL["running"]):
            device = self.actuators.get(row["camera_id"])
            if row["key"] in self._under_way:
                continue
            detail = "the daemon ended while it ran; it is not tried again"
            if device is not None and not device.pulses_itself:
                detail += await self._switched_off(device, row["camera_id"])
            await self._end(_of_row(row), "unknown", detail)

    async def _switched_off(self, device: Actuator, camera_id: str) -> str:
        rows = await self.ctx.fetch(SQL["policy"], [camera_id])
        port = rows[0]["output_port"] if rows else 1
        try:
            await switch_off(device, self.ctx.clock, _words({"camera_id": camera_id, "port": port}))
        except ActuatorError as error:
            return f"; its output could not be switched off: {error}"
        return "; its output was switched off"

    async def settle(self) -> None:
        """Openings that ran out before they were carried out: told as failed, never tried again."""
        now = self.ctx.clock.now_ms()
        for row in await self.ctx.fetch(SQL["stale"], [now - STALE_AFTER_MS]):
            await self._end(_of_row(row), "unknown", "it ran out before it was carried out; it is not tried again")


def _words(payload: dict[str, Any]) -> dict[str, str]:
    return {name: str(payload.get(name) or "") for name in ("camera_id", "event_id", "port", "pulse_ms")}


def _of_row(row: dict[str, Any]) -> dict[str, Any]:
    """What is still known of an opening whose request is gone."""
    return {"key": row["key"], "camera_id": row["camera_id"], "event_id": row["event_id"], "plate": None, "port": None,
            "mode": "auto", "pulse_ms": None}  # fmt: skip


def ended(tx: Tx, payload: dict[str, Any], state: str, detail: str | None, now_ms: int) -> None:
    """Write down how an opening ended, and tell of it."""
    tx.execute(SQL["end"], [state, now_ms, detail, payload["key"]])
    told = {"mode": payload["mode"], "reference": payload["event_id"], "port": payload["port"]}
    if payload.get("by"):
        told["by"] = payload["by"]
    if state == "opened":
        tx.event("gate_opened", at_ms=now_ms, camera_id=payload["camera_id"],
                 payload=told | {"pulse_ms": payload["pulse_ms"], "plate": payload["plate"]})  # fmt: skip
    else:
        tx.event("gate_open_failed", at_ms=now_ms, camera_id=payload["camera_id"], severity="warning",
                 payload=told | {"error": detail, "state": state})  # fmt: skip
