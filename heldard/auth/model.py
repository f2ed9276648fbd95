"""People, keys and sessions: as stored, as asked for and as shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from heldard.auth.capabilities import Role

Username = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._@+-]+(?!\n)$")]
Password = Annotated[str, Meta(min_length=8, max_length=256)]
Label = Annotated[str, Meta(min_length=1, max_length=200)]
Scope = Literal["all", "cameras"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person. failures: wrong passwords in a row."""

    id: str
    username: str
    password_hash: str
    role: Role
    display_name: str | None
    active: bool
    failures: int = 0
    locked_until_ms: int | None = None
    created_ms: int
    updated_ms: int


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody signed in. token: SHA-256 of what the browser holds."""

    token: str
    user_id: str
    created_ms: int
    used_ms: int
    expires_ms: int


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's credential. capabilities: None for the role's. cameras: the scope, None for all."""

    id: str
    name: str
    key_hash: str
    key_prefix: str
    role: Role
    capabilities: tuple[str, ...] | None
    cameras: tuple[str, ...] | None
    active: bool = True
    expires_ms: int | None = None
    revoked_ms: int | None = None
    used_ms: int | None = None
    created_ms: int


class Login(msgspec.Struct, frozen=True):
    username: Annotated[str, Meta(max_length=256)]
    password: Annotated[str, Meta(max_length=256)]


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    username: str
    role: Role
    display_name: str | None
    active: bool
    locked: bool
    created_at: str
    updated_at: str


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """token: for `Authorization: Bearer`; browsers have it as a cookie."""

    token: str
    expires_at: str
    user: UserView


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who the caller is. cameras: the scope, None for all."""

    id: str
    name: str
    role: str | None
    kind: Literal["user", "api_key", "system"]
    capabilities: list[str]
    cameras: list[str] | None


class UserCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    username: Username
    password: Password
    role: Role = "viewer"
    display_name: Label | None = None


class UserPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent stays; null clears the display name."""

    password: Password | None = None
    role: Role | None = None
    display_name: Label | UnsetType | None = UNSET
    active: bool | None = None


class KeyCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """capabilities: in place of the role's. scope_cameras: the only cameras the key reaches, with scope_kind `cameras`.

    confirm_privileged: needed for admin, registry:manage and gate:operate.
    """

    name: Label
    role: Role = "integration"
    capabilities: list[str] | None = None
    scope_kind: Scope | None = None
    scope_cameras: list[Label] | None = None
    expires_at: str | None = None
    confirm_privileged: bool = False


class KeyPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent stays; null takes back capabilities of its own, or the expiry."""

    name: Label | None = None
    active: bool | None = None
    capabilities: list[str] | UnsetType | None = UNSET
    scope_kind: Scope | None = None
    scope_cameras: list[Label] | None = None
    expires_at: str | UnsetType | None = UNSET
    confirm_privileged: bool = False


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. capabilities: what it can do now. legacy_role_expansion: they come from the role."""

    id: str
    name: str
    key_prefix: str
    role: Role
    capabilities: list[str]
    legacy_role_expansion: bool
    scope_kind: Scope
    scope_cameras: list[str]
    active: bool
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    created_at: str


class NewKey(KeyView, frozen=True, kw_only=True):
    """Shown once: `key` cannot be had again."""

    key: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what. detail: method, path, and the names of the fields that were given; never values."""

    id: str
    actor: str
    actor_name: str | None
    role: str | None
    action: str
    target_type: str | None
    target_id: str | None
    camera_id: str | None
    detail: dict[str, Any]
    created_at: str
