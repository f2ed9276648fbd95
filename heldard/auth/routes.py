"""`/api/v1/auth/*`, `/api/v1/users`, `/api/v1/api-keys`, `/api/v1/audit`."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from heldard import keys
from heldard.api.endpoint import PRINCIPAL, Query, Reply, route
from heldard.api.paging import NEXT_CURSOR, clamp_limit, moment, page_cursor, read_cursor
from heldard.auth.audit import AuditLog
from heldard.auth.capabilities import SIGNED_IN
from heldard.auth.guard import COOKIE, person_of, presented
from heldard.auth.model import (
    ApiKey,
    AuditEntry,
    KeyCreate,
    KeyPatch,
    KeyView,
    Login,
    Me,
    NewKey,
    SignedIn,
    User,
    UserCreate,
    UserPatch,
    UserView,
)  # fmt: skip
from heldard.auth.service import Access
from heldard.clock import rfc3339

AUDIT = web.AppKey("audit", AuditLog)


class AuditQuery(Query, frozen=True, kw_only=True):
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    actor: str | None = None
    action: str | None = None
    cursor: str | None = None
    limit: int | None = None


# --- signing in -------------------------------------------------------------------------------------------------------


@route("POST", "/api/v1/auth/login", capability=None, tag="auth", body_limit=4096, audit=False, answers=SignedIn)
async def login(request: web.Request, body: Login) -> web.Response:
    """Sign in with name and password: a token, and the same as a cookie for browsers."""
    access = request.app[keys.ACCESS]
    token, session, user = await access.sign_in(body.username, body.password, request.remote)
    answer = SignedIn(token=token, expires_at=rfc3339(session.expires_ms), user=_user(access, user))
    response = web.Response(body=msgspec.json.encode(answer), content_type="application/json")
    response.set_cookie(
        COOKIE, token, httponly=True, samesite="Strict", path="/", secure=request.app[keys.SETTINGS].auth.cookie_secure
    )
    return response


@route("POST", "/api/v1/auth/logout", capability=None, tag="auth", status=204, audit=False)
async def logout(request: web.Request) -> web.Response:
    """Sign out; 204 whoever asks."""
    token = presented(request)
    if token is not None:
        await request.app[keys.ACCESS].sign_out(token)
    response = web.Response(status=204)
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
    return response


@route("GET", "/api/v1/auth/me", capability=SIGNED_IN, tag="auth")
async def me(request: web.Request) -> Me:
    """Who the caller is, and what they may do."""
    person = person_of(request)
    assert person.kind != "nobody"
    return Me(
        id=person.id, name=person.name, role=person.role, kind=person.kind, capabilities=sorted(person.capabilities),
        cameras=None if person.cameras is None else sorted(person.cameras),
    )  # fmt: skip


# --- people -----------------------------------------------------------------------------------------------------------


@route("GET", "/api/v1/users", capability="admin", unscoped=True)
async def list_users(request: web.Request) -> list[UserView]:
    """Everybody who can sign in, oldest first."""
    access = request.app[keys.ACCESS]
    return [_user(access, user) for user in access.all_users()]


@route("POST", "/api/v1/users", capability="admin", unscoped=True, status=201)
async def create_user(request: web.Request, body: UserCreate) -> UserView:
    """Add somebody."""
    access = request.app[keys.ACCESS]
    return _user(access, await access.add_user(body))


@route("PATCH", "/api/v1/users/{user_id}", capability="admin", unscoped=True)
async def patch_user(request: web.Request, user_id: str, body: UserPatch) -> UserView:
    """Change somebody; a new password or `active: false` signs them out everywhere."""
    access = request.app[keys.ACCESS]
    return _user(access, await access.change_user(user_id, body))


@route("DELETE", "/api/v1/users/{user_id}", capability="admin", unscoped=True, status=204)
async def delete_user(request: web.Request, user_id: str) -> None:
    """Remove somebody else."""
    await request.app[keys.ACCESS].remove_user(user_id, request[PRINCIPAL].id)


@route("POST", "/api/v1/users/{user_id}/unlock", capability="admin", unscoped=True)
async def unlock_user(request: web.Request, user_id: str) -> UserView:
    """Let somebody try again before the lockout is over."""
    access = request.app[keys.ACCESS]
    return _user(access, await access.unlock(user_id))


# --- keys -------------------------------------------------------------------------------------------------------------


@route("GET", "/api/v1/api-keys", capability="admin", unscoped=True)
async def list_keys(request: web.Request) -> list[KeyView]:
    """Every key, oldest first, revoked ones too; never the keys themselves."""
    access = request.app[keys.ACCESS]
    return [KeyView(**_key(access, key)) for key in access.all_keys()]


@route("POST", "/api/v1/api-keys", capability="admin", unscoped=True, status=201)
async def create_key(request: web.Request, body: KeyCreate) -> NewKey:
    """Make a key. It is shown this once."""
    access = request.app[keys.ACCESS]
    secret, key = await access.add_key(body)
    return NewKey(key=secret, **_key(access, key))


@route("PATCH", "/api/v1/api-keys/{key_id}", capability="admin", unscoped=True)
async def patch_key(request: web.Request, key_id: str, body: KeyPatch) -> KeyView:
    """Change what a key is called, may do, or until when."""
    access = request.app[keys.ACCESS]
    return KeyView(**_key(access, await access.change_key(key_id, body)))


@route("DELETE", "/api/v1/api-keys/{key_id}", capability="admin", unscoped=True, status=204)
async def delete_key(request: web.Request, key_id: str) -> None:
    """Revoke a key for good."""
    await request.app[keys.ACCESS].revoke_key(key_id)


# --- audit ------------------------------------------------------------------------------------------------------------


@route("GET", "/api/v1/audit", capability="registry:manage")
async def list_audit(request: web.Request, query: AuditQuery) -> Reply[list[AuditEntry]]:
    """Who changed what, newest first, filtered and paged."""
    limit = clamp_limit(query.limit, 200, 5000)
    found = await request.app[AUDIT].newest(_conditions(request, query), limit)
    headers = {NEXT_CURSOR: page_cursor(found[-1][0], found[-1][1])} if len(found) == limit else {}
    entries: list[AuditEntry] = [entry for _, _, entry in found]
    return Reply(entries, headers=headers)


def _conditions(request: web.Request, query: AuditQuery) -> list[tuple[str, Any]]:
    conditions: list[tuple[str, Any]] = []
    for column, text in (("actor", query.actor), ("action", query.action)):
        if text:
            conditions.append((f"{column} = ?", text))
    for text, name, comparison in ((query.from_, "from", "at_ms >= ?"), (query.to, "to", "at_ms <= ?")):
        if (at_ms := moment(text, name)) is not None:
            conditions.append((comparison, at_ms))
    if query.cursor:
        conditions.append(("(at_ms, seq) < (?, ?)", tuple(read_cursor(query.cursor, 2))))
    scope = person_of(request).cameras
    if scope is not None:
        conditions.append((f"camera_id IN ({', '.join('?' * len(scope))})", tuple(sorted(scope))))
    return conditions


def _user(access: Access, user: User) -> UserView:
    return UserView(
        id=user.id, username=user.username, role=user.role, display_name=user.display_name, active=user.active,
        locked=access.is_locked(user), created_at=rfc3339(user.created_ms), updated_at=rfc3339(user.updated_ms),
    )  # fmt: skip


def _key(access: Access, key: ApiKey) -> dict[str, Any]:
    times = {"expires_at": key.expires_ms, "revoked_at": key.revoked_ms, "last_used_at": key.used_ms}
    return {
        "id": key.id, "name": key.name, "key_prefix": key.key_prefix, "role": key.role,
        "capabilities": sorted(access.granted(key)), "legacy_role_expansion": key.capabilities is None,
        "scope_kind": "all" if key.cameras is None else "cameras", "scope_cameras": list(key.cameras or ()),
        "active": key.active, "created_at": rfc3339(key.created_ms),
        **{name: None if ms is None else rfc3339(ms) for name, ms in times.items()},
    }  # fmt: skip


ROUTES = (
    login, logout, me, list_users, create_user, patch_user, delete_user, unlock_user, list_keys, create_key, patch_key,
    delete_key, list_audit,
)  # fmt: skip
