"""HTTP of the gate: upstream's routes, and the list of openings."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from heldard.plugin import PRINCIPAL, Endpoint, NotFoundError, PluginContext, Query, Tx, rfc3339, route
from heldard_anpr.caller import caller, limited, shown
from heldard_anpr.engine.model import Direction
from heldard_anpr.gate.service import SQL, Gate


class Policy(msgspec.Struct, frozen=True):
    camera_id: str
    enabled: bool
    output_port: int
    pulse_ms: int
    directions: list[str]
    allow_vip: bool
    per_minute: int
    actuator: str | None
    updated_at: str


class GateState(msgspec.Struct, frozen=True):
    kill_switch: bool
    policies: list[Policy]


class GateSettings(msgspec.Struct, frozen=True):
    kill_switch: bool


class PolicyPut(msgspec.Struct, frozen=True):
    """directions: which way a vehicle must be going. allow_vip: a place on the VIP list is enough. per_minute: most
    openings within a minute."""

    enabled: bool | None = None
    output_port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    pulse_ms: Annotated[int, Meta(ge=100, le=30_000)] | None = None
    directions: Annotated[list[Direction], Meta(min_length=1)] | None = None
    allow_vip: bool | None = None
    per_minute: Annotated[int, Meta(ge=1, le=60)] | None = None


class Opened(msgspec.Struct, frozen=True):
    ok: bool
    pulse_ms: int


class OpeningsQuery(Query, frozen=True):
    limit: int = 100


class Opening(msgspec.Struct, frozen=True):
    """state: asked, opened, failed, refused, or unknown (the daemon stopped while it ran, or it came too late)."""

    key: str
    camera_id: str
    event_id: str | None
    asked_at: str
    asked_by: str
    state: str
    ended_at: str | None
    detail: str | None


def routes(ctx: PluginContext, gate: Gate) -> list[Endpoint]:
    def policy(row: dict[str, Any]) -> Policy:
        device = gate.actuators.get(row["camera_id"])
        return Policy(
            row["camera_id"], bool(row["enabled"]), row["output_port"], row["pulse_ms"],
            msgspec.json.decode(row["directions"]), bool(row["allow_vip"]), row["per_minute"],
            None if device is None else type(device).__name__.removesuffix("Actuator").lower(),
            rfc3339(row["updated_at"]),
        )  # fmt: skip

    @route("GET", "/api/v1/entry/gate", capability="identity:read")
    async def show(request: web.Request) -> GateState:
        """The kill switch and every gate's policy."""
        off = bool((await ctx.fetch(SQL["settings"]))[0]["kill_switch"])
        sees = request[PRINCIPAL].sees
        return GateState(off, [policy(row) for row in await ctx.fetch(SQL["policies"]) if sees(row["camera_id"])])

    @route("PUT", "/api/v1/entry/gate/settings", capability="registry:manage", unscoped=True)
    async def set_kill_switch(request: web.Request, body: GateSettings) -> GateSettings:
        """Turn the kill switch: while it is on nothing opens, by hand neither."""
        row = [int(body.kill_switch), ctx.clock.now_ms()]
        await ctx.write(lambda tx: tx.execute(SQL["set_kill_switch"], row))
        return body

    @route("PUT", "/api/v1/entry/gate/policies/{camera_id}", capability="registry:manage", camera="camera_id")
    async def put(request: web.Request, camera_id: str, body: PolicyPut) -> Policy:
        """Add or replace the policy of a camera's gate."""
        await ctx.camera(camera_id)
        row = {
            "camera_id": camera_id,
            "enabled": int(bool(body.enabled)),
            "output_port": body.output_port or 1,
            "pulse_ms": body.pulse_ms or 1000,
            "directions": msgspec.json.encode(body.directions or ["inbound", "unknown"]).decode(),
            "allow_vip": int(bool(body.allow_vip)),
            "per_minute": body.per_minute or 6,
            "updated_at": ctx.clock.now_ms(),
        }
        await ctx.write(lambda tx: tx.execute(SQL["put_policy"], row))
        return policy(row)

    @route("DELETE", "/api/v1/entry/gate/policies/{camera_id}", capability="registry:manage", camera="camera_id",
           status=204)  # fmt: skip
    async def drop(request: web.Request, camera_id: str) -> None:
        """Take a camera's gate away."""

        def work(tx: Tx) -> None:
            if not tx.execute(SQL["policy"], [camera_id]):
                raise NotFoundError(f"camera {camera_id!r} has no gate policy")
            tx.execute(SQL["drop_policy"], [camera_id])

        await ctx.write(work)

    @route("POST", "/api/v1/entry/gate/open/{camera_id}", capability="gate:operate", camera="camera_id")
    async def open_now(request: web.Request, camera_id: str) -> Opened:
        """Open a gate by hand, now."""
        return Opened(True, await gate.open_by_hand(camera_id, caller(request)))

    @route("GET", "/api/v1/anpr/openings/{camera_id}", capability="events:read", camera="camera_id")
    async def openings(request: web.Request, camera_id: str, query: OpeningsQuery) -> list[Opening]:
        """The newest openings of a camera's gate and how each ended."""
        rows = await ctx.fetch(SQL["openings"], [camera_id, limited(query.limit, 1000)])
        return [
            Opening(row["key"], row["camera_id"], row["event_id"], rfc3339(row["asked_ms"]), row["asked_by"],
                    row["state"], shown(row["ended_ms"]), row["detail"])
            for row in rows
        ]  # fmt: skip

    return [show, set_kill_switch, put, drop, open_now, openings]
