"""Changes to the lists, as units of work."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from msgspec import UNSET

from heldard.plugin import ConflictError, ForbiddenError, InvalidError, Tx, new_id
from heldard_anpr.caller import Caller, clean, moment, plate_of
from heldard_anpr.registry import store
from heldard_anpr.registry.model import (
    Group,
    GroupCreate,
    GroupPatch,
    Pass,
    PassCreate,
    PassPatch,
    Vehicle,
    VehicleCreate,
    VehiclePatch,
    WatchCreate,
    WatchEntry,
    WatchPatch,
)

DAY_MS = 86_400_000
PASS_LENGTH_MS = DAY_MS
LAST_MS = 253_402_300_799_999
"""The last moment that has a date."""


def given(patch: msgspec.Struct) -> dict[str, Any]:
    """The fields of a patch that were sent."""
    return {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}


def _window(values: dict[str, Any]) -> None:
    begins, ends = values.get("valid_from"), values.get("valid_until")
    if begins is not None and ends is not None and ends < begins:
        raise InvalidError("valid_until is before valid_from", details={"element": "valid_until"})


def must_be_group(tx: Tx, group_id: str | None) -> None:
    if group_id is not None and not tx.fetch(store.SQL["group_"], [group_id]):
        raise InvalidError(f"no group {group_id!r}: add it at /api/v1/anpr/groups", details={"element": "group_id"})


# --- vehicles --------------------------------------------------------------------------------------------------------


def vehicle_values(body: VehicleCreate) -> dict[str, Any]:
    """The columns of a new vehicle. Raises InvalidError."""
    values: dict[str, Any] = {name: clean(getattr(body, name)) for name in VEHICLE_TEXTS}
    values |= {
        "plate": body.plate.strip(),
        "plate_norm": plate_of(body.plate),
        "owner_type": body.owner_type or "visitor",
        "active": int(body.active is not False),
        "valid_from": moment(body.valid_from, "valid_from"),
        "valid_until": moment(body.valid_until, "valid_until"),
    }
    _window(values)
    return values


VEHICLE_TEXTS = ("owner_name", "owner_ref", "site_id", "vehicle_type", "make", "model", "color", "notes", "group_id")


def add_vehicle(tx: Tx, body: VehicleCreate, now_ms: int) -> Vehicle:
    values = {"id": new_id("veh")} | vehicle_values(body) | {"created_at": now_ms, "updated_at": now_ms}
    must_be_group(tx, values["group_id"])
    store.insert(tx, "vehicles", values)
    return store.vehicle(store.row(tx, "vehicles", values["id"]))


def edit_vehicle(tx: Tx, vehicle_id: str, patch: VehiclePatch, now_ms: int) -> Vehicle:
    before = store.row(tx, "vehicles", vehicle_id)
    values: dict[str, Any] = {}
    for name, value in given(patch).items():
        if name in VEHICLE_TEXTS:
            values[name] = clean(value)
        elif name in ("valid_from", "valid_until"):
            values[name] = moment(value, name)
        elif value is not None:
            values[name] = int(value) if name == "active" else value
    if "plate" in values:
        values |= {"plate": values["plate"].strip(), "plate_norm": plate_of(values["plate"])}
    _window(before | values)
    must_be_group(tx, values.get("group_id"))
    store.update(tx, "vehicles", vehicle_id, values | {"updated_at": now_ms})
    return store.vehicle(store.row(tx, "vehicles", vehicle_id))


# --- passes ----------------------------------------------------------------------------------------------------------

PASS_TEXTS = ("phone", "company", "host", "purpose", "vehicle_desc", "site_id", "group_id")


def pass_values(body: PassCreate, now_ms: int) -> dict[str, Any]:
    """The columns of a new pass. Raises InvalidError."""
    name = clean(body.visitor_name)
    if name is None:
        raise InvalidError("visitor_name: a pass needs the visitor's name", details={"element": "visitor_name"})
    values: dict[str, Any] = {field: clean(getattr(body, field)) for field in PASS_TEXTS}
    begins = moment(body.valid_from, "valid_from")
    begins = now_ms if begins is None else begins
    ends = moment(body.valid_until, "valid_until")
    values |= {
        "visitor_name": name,
        "plate": clean(body.plate),
        "plate_norm": plate_of(body.plate) if clean(body.plate) and body.plate else None,
        "valid_from": begins,
        "valid_until": min(LAST_MS, begins + PASS_LENGTH_MS) if ends is None else ends,
    }
    _window(values)
    return values


def add_pass(tx: Tx, body: PassCreate, by: Caller, now_ms: int) -> Pass:
    values = {"id": new_id("pass"), "code": new_code(tx)} | pass_values(body, now_ms)
    values |= {"created_by": by.name, "created_at": now_ms, "updated_at": now_ms}
    must_be_group(tx, values["group_id"])
    store.insert(tx, "visitor_passes", values)
    return store.visitor_pass(store.row(tx, "visitor_passes", values["id"]))


def new_code(tx: Tx) -> str:
    while True:
        code = f"V-{secrets.token_hex(3).upper()}"
        if not tx.execute("SELECT 1 FROM visitor_passes WHERE code = ?", [code]):
            return code


def edit_pass(tx: Tx, pass_id: str, patch: PassPatch, may_restore: bool, now_ms: int) -> Pass:
    """`may_restore`: whether the caller may take a pass out of `revoked`."""
    before = store.row(tx, "visitor_passes", pass_id)
    values: dict[str, Any] = {}
    for name, value in given(patch).items():
        if name in PASS_TEXTS:
            values[name] = clean(value)
        elif name == "plate":
            values |= {"plate": clean(value), "plate_norm": plate_of(value) if clean(value) else None}
        elif value is not None:
            values[name] = moment(value, name) if name.startswith("valid_") else value
    values = {
        name: value for name, value in values.items() if value is not None or name not in ("valid_from", "valid_until")
    }
    if "visitor_name" in values and clean(values["visitor_name"]) is None:
        raise InvalidError("visitor_name: a pass needs the visitor's name", details={"element": "visitor_name"})
    leaves_revoked = before["status"] == "revoked" and values.get("status", "revoked") != "revoked"
    if leaves_revoked and not may_restore:
        raise ForbiddenError("only a holder of registry:manage may take a pass out of revoked")
    _window(before | values)
    must_be_group(tx, values.get("group_id"))
    store.update(tx, "visitor_passes", pass_id, values | {"updated_at": now_ms})
    return store.visitor_pass(store.row(tx, "visitor_passes", pass_id))


def check_in(tx: Tx, pass_id: str, now_ms: int) -> Pass:
    """Raises ConflictError unless the pass is active or checked in."""
    status = store.row(tx, "visitor_passes", pass_id)["status"]
    if status not in ("active", "checked_in"):
        raise ConflictError(f"a pass that is {status} cannot be checked in", code="pass_state")
    tx.execute(store.SQL["check_in"], [now_ms, now_ms, pass_id])
    return store.visitor_pass(store.row(tx, "visitor_passes", pass_id))


def check_out(tx: Tx, pass_id: str, now_ms: int) -> Pass:
    """Raises ConflictError for a revoked or expired pass."""
    status = store.row(tx, "visitor_passes", pass_id)["status"]
    if status in ("revoked", "expired"):
        raise ConflictError(f"a pass that is {status} cannot be checked out", code="pass_state")
    tx.execute(store.SQL["check_out"], [now_ms, 0, now_ms, pass_id])
    return store.visitor_pass(store.row(tx, "visitor_passes", pass_id))


# --- watchlist -------------------------------------------------------------------------------------------------------


def watch_values(body: WatchCreate) -> dict[str, Any]:
    return {
        "plate": body.plate.strip(),
        "plate_norm": plate_of(body.plate),
        "kind": body.kind or "block",
        "reason": clean(body.reason),
        "severity": body.severity or "warning",
        "active": int(body.active is not False),
    }


def add_watch(tx: Tx, body: WatchCreate, by: Caller, now_ms: int) -> WatchEntry:
    values = {"id": new_id("wl")} | watch_values(body)
    values |= {"created_by": by.name, "created_at": now_ms, "updated_at": now_ms}
    store.insert(tx, "watchlist", values)
    return store.watch_entry(store.row(tx, "watchlist", values["id"]))


def edit_watch(tx: Tx, entry_id: str, patch: WatchPatch, now_ms: int) -> WatchEntry:
    store.row(tx, "watchlist", entry_id)
    values: dict[str, Any] = {}
    for name, value in given(patch).items():
        if name == "reason":
            values[name] = clean(value)
        elif value is not None:
            values[name] = int(value) if name == "active" else value
    store.update(tx, "watchlist", entry_id, values | {"updated_at": now_ms})
    return store.watch_entry(store.row(tx, "watchlist", entry_id))


# --- groups ----------------------------------------------------------------------------------------------------------


def add_group(tx: Tx, body: GroupCreate, now_ms: int) -> Group:
    values = {"id": new_id("grp"), "name": body.name, "schedule": msgspec.json.encode(body.schedule).decode()}
    rest = {"max_stay_s": body.max_stay_s, "created_at": now_ms, "updated_at": now_ms}
    store.insert(tx, "anpr_groups", values | rest)
    return store.group(store.row(tx, "anpr_groups", values["id"]))


def edit_group(tx: Tx, group_id: str, patch: GroupPatch, now_ms: int) -> Group:
    store.row(tx, "anpr_groups", group_id)
    values = given(patch)
    if "schedule" in values:
        values["schedule"] = msgspec.json.encode(values["schedule"]).decode()
    store.update(tx, "anpr_groups", group_id, values | {"updated_at": now_ms})
    return store.group(store.row(tx, "anpr_groups", group_id))
