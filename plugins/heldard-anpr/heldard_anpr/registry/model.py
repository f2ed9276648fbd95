"""Vehicles, visitor passes, watchlist entries and groups, as the API shows and takes them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

OwnerType = Literal["student", "staff", "resident", "contractor", "visitor"]
PassStatus = Literal["active", "checked_in", "checked_out", "expired", "revoked"]
WatchKind = Literal["block", "vip", "alert"]
WatchSeverity = Literal["warning", "info", "critical"]
Text = Annotated[str, Meta(max_length=500)]

MOST_STAY_S = 366 * 24 * 3600
"""The longest time inside that a group can be held to."""
Maybe = Text | None | UnsetType


class Vehicle(msgspec.Struct, frozen=True):
    id: str
    plate: str
    plate_norm: str
    owner_name: str | None
    owner_type: str
    owner_ref: str | None
    site_id: str | None
    vehicle_type: str | None
    make: str | None
    model: str | None
    color: str | None
    notes: str | None
    active: bool
    valid_from: str | None
    valid_until: str | None
    group_id: str | None
    created_at: str
    updated_at: str


class VehicleCreate(msgspec.Struct, frozen=True):
    plate: Text
    owner_name: Text | None = None
    owner_type: OwnerType | None = None
    owner_ref: Text | None = None
    site_id: Text | None = None
    vehicle_type: Text | None = None
    make: Text | None = None
    model: Text | None = None
    color: Text | None = None
    notes: Text | None = None
    active: bool | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    group_id: str | None = None


class VehiclePatch(msgspec.Struct, frozen=True):
    """Absent keeps, null clears; where a field cannot be empty, null keeps too."""

    plate: Maybe = UNSET
    owner_name: Maybe = UNSET
    owner_type: OwnerType | UnsetType | None = UNSET
    owner_ref: Maybe = UNSET
    site_id: Maybe = UNSET
    vehicle_type: Maybe = UNSET
    make: Maybe = UNSET
    model: Maybe = UNSET
    color: Maybe = UNSET
    notes: Maybe = UNSET
    active: bool | UnsetType | None = UNSET
    valid_from: Maybe = UNSET
    valid_until: Maybe = UNSET
    group_id: Maybe = UNSET


class Pass(msgspec.Struct, frozen=True):
    id: str
    code: str
    visitor_name: str
    phone: str | None
    company: str | None
    host: str | None
    purpose: str | None
    plate: str | None
    plate_norm: str | None
    vehicle_desc: str | None
    site_id: str | None
    valid_from: str
    valid_until: str
    status: str
    checked_in_at: str | None
    checked_out_at: str | None
    group_id: str | None
    created_by: str | None
    created_at: str
    updated_at: str


class PassCreate(msgspec.Struct, frozen=True):
    visitor_name: Text
    phone: Text | None = None
    company: Text | None = None
    host: Text | None = None
    purpose: Text | None = None
    plate: Text | None = None
    vehicle_desc: Text | None = None
    site_id: Text | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    group_id: str | None = None


class PassPatch(msgspec.Struct, frozen=True):
    """Absent keeps, null clears; where a field cannot be empty, null keeps too."""

    visitor_name: Maybe = UNSET
    phone: Maybe = UNSET
    company: Maybe = UNSET
    host: Maybe = UNSET
    purpose: Maybe = UNSET
    plate: Maybe = UNSET
    vehicle_desc: Maybe = UNSET
    site_id: Maybe = UNSET
    valid_from: Maybe = UNSET
    valid_until: Maybe = UNSET
    status: PassStatus | UnsetType | None = UNSET
    group_id: Maybe = UNSET


class WatchEntry(msgspec.Struct, frozen=True):
    id: str
    plate: str
    plate_norm: str
    kind: str
    reason: str | None
    severity: str
    active: bool
    created_by: str | None
    created_at: str
    updated_at: str


class WatchCreate(msgspec.Struct, frozen=True):
    plate: Text
    kind: WatchKind | None = None
    reason: Text | None = None
    severity: WatchSeverity | None = None
    active: bool | None = None


class WatchPatch(msgspec.Struct, frozen=True):
    kind: WatchKind | UnsetType | None = UNSET
    reason: Maybe = UNSET
    severity: WatchSeverity | UnsetType | None = UNSET
    active: bool | UnsetType | None = UNSET


class Window(msgspec.Struct, frozen=True):
    """When members of a group may come. days: ISO weekdays, 1 is Monday; empty: every day. begins, ends: HH:MM of the
    site's time zone; a window whose end is not after its beginning runs past midnight."""

    begins: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "00:00"
    ends: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")] = "24:00"
    days: list[Annotated[int, Meta(ge=1, le=7)]] = []


class Group(msgspec.Struct, frozen=True):
    id: str
    name: str
    schedule: list[Window]
    max_stay_s: int | None
    created_at: str
    updated_at: str


class GroupCreate(msgspec.Struct, frozen=True):
    """schedule: empty means always. max_stay_s: longer inside is an overstay."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    schedule: Annotated[list[Window], Meta(max_length=50)] = []
    max_stay_s: Annotated[int, Meta(ge=60, le=MOST_STAY_S)] | None = None


class GroupPatch(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    schedule: Annotated[list[Window], Meta(max_length=50)] | UnsetType = UNSET
    max_stay_s: Annotated[int, Meta(ge=60, le=MOST_STAY_S)] | UnsetType | None = UNSET
