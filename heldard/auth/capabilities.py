"""Roles and what they may do. The slugs are shared with every client and never change their meaning."""

from __future__ import annotations

from typing import Literal

Role = Literal["admin", "manager", "guard", "viewer", "integration"]
MachineAuth = Literal["off", "warn", "enforce"]

SIGNED_IN = "signed_in"
"""Not a capability one can be given: every caller with a valid credential has it."""

VIEW = frozenset({
    "camera:read", "video:live", "video:playback", "video:export", "events:read", "identity:read", "ai:tasks",
    "ai:frames", "system:read", "net:scan", "module:proxy",
})  # fmt: skip
PRIVILEGED = frozenset({"admin", "registry:manage", "gate:operate"})
"""A key gets these only when whoever makes it says so twice."""

ALL = VIEW | PRIVILEGED | {"ai:ingest", "ai:embedwork"}

NOT_WITH_SCOPE = frozenset({"admin", "events:read", "identity:read"})
"""What reaches beyond single cameras, so that a camera scope would promise too much."""

_MACHINE = frozenset({"ai:tasks", "ai:frames", "ai:ingest", "ai:embedwork", "camera:read", "events:read"})

ROLES: dict[str, frozenset[str]] = {
    "admin": ALL,
    "manager": VIEW | {"gate:operate", "registry:manage"},
    "guard": VIEW | {"gate:operate"},
    "viewer": VIEW,
    "integration": VIEW | {"ai:ingest", "ai:embedwork"},
}


def of_role(role: str, machine: MachineAuth) -> frozenset[str]:
    """What a role may do; `enforce` leaves machines only what workers need."""
    return _MACHINE if role == "integration" and machine == "enforce" else ROLES[role]
