"""Every route there is, asked by everybody there can be."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import aiohttp
import pytest

from heldard.api.endpoint import Endpoint
from heldard.app import ROUTES
from heldard.auth import capabilities
from heldard.plugins import GROUP
from heldard.testing import Kernel
from tests.auth.conftest import MakeKey
from tests.auth.declared import KERNEL, PLUGINS

INSTALLED = sorted(point.name for point in metadata.entry_points(group=GROUP) if point.name in PLUGINS)
DECLARED = KERNEL | {route: who for name in INSTALLED for route, who in PLUGINS[name].items()}
UNAUDITED = {
    "POST /api/v1/auth/login": "recorded by itself, with who signed in",
    "POST /api/v1/auth/logout": "changes nothing but the caller's own session",
    "POST /api/v1/ai/leases": "what workers do every few seconds",
    "DELETE /api/v1/ai/leases/{lease_id}": "the same",
    "POST /api/v1/ai/events": "the log of batches is its record",
    "POST /api/v1/cameras/{camera_id}/zones/backtest": "computes and changes nothing",
}
"""Why a change is not in the audit log."""

SLUGS = sorted(capabilities.ALL)


@asynccontextmanager
async def kernel_with(make: Any, *, auth: bool) -> AsyncIterator[Kernel]:
    async with make(*INSTALLED, settings={"auth": {"enabled": auth}}) as kernel:
        yield kernel


def name_of(endpoint: Endpoint) -> str:
    return endpoint.method + " " + re.sub(r"{(\w+):[^}]*}", r"{\1}", endpoint.path)


async def ask(kernel: Kernel, route: str, key: str | None = None, camera: str = "inside") -> int:
    """The status; nothing is named that exists, and bodies are empty, so that nothing happens."""
    method, _, path = route.partition(" ")
    path = re.sub(r"{\w+}", "missing", path.replace("{camera_id}", camera))
    if path.endswith("/stream"):
        return await peek(kernel, path, key)
    headers = {} if key is None else {"X-API-Key": key}
    body = {} if method in ("POST", "PATCH", "PUT") else None
    return (await kernel.request(method, path, body, **headers)).status


async def peek(kernel: Kernel, path: str, key: str | None) -> int:
    """The status of an answer that need not end."""
    headers = {} if key is None else {"X-API-Key": key}
    async with aiohttp.ClientSession() as session, session.get(kernel.url + path, headers=headers) as response:
        return response.status


def may(capability: str | None, held: frozenset[str]) -> bool:
    return capability in (None, capabilities.SIGNED_IN) or capability in held or "admin" in held


async def test_every_route_is_declared_with_its_capability_and_no_other_is(heldard_kernel: Any) -> None:
    async with kernel_with(heldard_kernel, auth=True) as kernel:
        endpoints = kernel.app[ROUTES]
    found = {name_of(endpoint): endpoint.capability for endpoint in endpoints}
    assert found == {route: capability for route, (capability, _) in DECLARED.items()}
    reaches = {name_of(e): "camera" if e.camera else "box" for e in endpoints if e.camera or e.unscoped}
    assert reaches == {route: reach for route, (_, reach) in DECLARED.items() if reach in ("camera", "box")}
    unaudited = {name_of(e) for e in endpoints if not e.audit and e.method not in ("GET", "HEAD")}
    assert unaudited == {route for route in DECLARED if route in UNAUDITED}


async def test_with_auth_on_nobody_gets_in_without_a_valid_credential(heldard_kernel: Any) -> None:
    async with kernel_with(heldard_kernel, auth=True) as kernel:
        for route, (capability, _) in DECLARED.items():
            expected_open = capability is None
            for key in (None, "vok_" + "0" * 64, "vos_" + "0" * 64, "x" * 5000):
                status = await ask(kernel, route, key)
                assert (status != 401) == expected_open, (route, key, status)
                assert status != 500, route


async def test_with_auth_off_everybody_may_but_a_bad_credential_is_refused(heldard_kernel: Any) -> None:
    """X-53: upstream makes full admins of those with an unknown token."""
    async with kernel_with(heldard_kernel, auth=False) as kernel:
        for route, (capability, _) in DECLARED.items():
            assert await ask(kernel, route) not in (401, 403, 500), route
            refused = await ask(kernel, route, "vok_" + "0" * 64)
            assert (refused == 401) == (capability is not None), (route, refused)


@pytest.mark.parametrize("auth", [True, False])
async def test_each_capability_opens_its_routes_and_no_other(
    heldard_kernel: Any, make_key: MakeKey, auth: bool
) -> None:
    async with kernel_with(heldard_kernel, auth=auth) as kernel:
        for slug in SLUGS:
            key = await make_key(kernel, capabilities=[slug])
            for route, (capability, _) in DECLARED.items():
                status = await ask(kernel, route, key)
                assert (status != 403) == may(capability, frozenset({slug})), (slug, route, status)
                assert status not in (401, 500), (slug, route) if capability else route


@pytest.mark.parametrize("machine", ["warn", "enforce"])
async def test_each_role_opens_what_its_capabilities_open(heldard_kernel: Any, make_key: MakeKey, machine: Any) -> None:
    async with heldard_kernel(*INSTALLED, settings={"auth": {"enabled": True, "machine": machine}}) as kernel:
        for role in capabilities.ROLES:
            key = await make_key(kernel, role=role)
            held = capabilities.of_role(role, machine)
            for route, (capability, _) in DECLARED.items():
                assert (await ask(kernel, route, key) != 403) == may(capability, held), (role, route)


async def test_a_camera_scope_holds_on_every_route(heldard_kernel: Any, make_key: MakeKey) -> None:
    """What a credential with a scope can be given at all: see the next test for the rest."""
    async with kernel_with(heldard_kernel, auth=True) as kernel:
        await kernel_cameras(kernel, make_key)
        for route, (capability, reach) in DECLARED.items():
            if capability is None or capability in capabilities.NOT_WITH_SCOPE:
                continue
            slugs = [] if capability == capabilities.SIGNED_IN else [capability]
            key = await make_key(kernel, capabilities=slugs, scope_cameras=["inside"])
            inside = await ask(kernel, route, key)
            assert (inside == 403) == (reach in ("box", "thing")), (route, inside)
            if reach == "camera":
                for camera in ("outside", "nowhere"):
                    assert await ask(kernel, route, key, camera) == 403, (route, camera)


async def kernel_cameras(kernel: Kernel, make_key: MakeKey) -> None:
    admin = await make_key(kernel, role="admin")
    made = await kernel.request("POST", "/api/v1/cameras", {"name": "outside"}, **{"X-API-Key": admin})
    assert made.status == 201


@pytest.mark.parametrize("slug", sorted(capabilities.NOT_WITH_SCOPE))
async def test_what_reaches_beyond_single_cameras_cannot_be_scoped(
    heldard_kernel: Any, make_key: MakeKey, slug: str
) -> None:
    async with kernel_with(heldard_kernel, auth=True) as kernel:
        admin = await make_key(kernel, role="admin")
        body = {"name": "x", "capabilities": [slug], "scope_cameras": ["inside"], "confirm_privileged": True}
        reply = await kernel.request("POST", "/api/v1/api-keys", body, **{"X-API-Key": admin})
        assert (reply.status, reply.body["code"]) == (400, "scope_too_wide")


async def test_a_stored_key_with_a_scope_too_wide_is_denied_at_use(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with kernel_with(heldard_kernel, auth=True) as kernel:
        key = await make_key(kernel, capabilities=["events:read"])
        db = kernel.app[_keys().DB]
        await db.write(lambda connection: connection.execute("UPDATE api_keys SET cameras = '[\"inside\"]'").rowcount)
        await kernel.restart()
        assert await ask(kernel, "GET /api/v1/events", key) == 401


async def test_an_ingest_for_a_camera_outside_the_scope_is_refused(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with kernel_with(heldard_kernel, auth=True) as kernel:
        await kernel_cameras(kernel, make_key)
        key = await make_key(kernel, capabilities=["ai:ingest"], scope_cameras=["inside"])
        for camera in ("outside", "nowhere"):
            body = {"camera_id": camera, "task_type": "t"}
            reply = await kernel.request("POST", "/api/v1/ai/events", body, **{"X-API-Key": key})
            assert (reply.status, reply.body["code"]) == (403, "out_of_scope")


async def test_lists_leave_out_what_is_outside_the_scope(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel() as kernel:
        for camera in ("inside", "outside"):
            await kernel.add_camera(camera)
            await kernel.add_task(camera)
        slugs = ["camera:read", "ai:tasks", "registry:manage"]
        key = await make_key(kernel, capabilities=slugs, scope_cameras=["inside"])
        await kernel.request("POST", "/api/v1/ai/leases", {"worker_id": "w"})
        for path, field in (
            ("cameras", "id"),
            ("ai/tasks", "camera_id"),
            ("ai/leases", "camera_id"),
            ("audit", "camera_id"),
        ):
            seen = (await kernel.request("GET", f"/api/v1/{path}", None, **{"X-API-Key": key})).body
            assert {row[field] for row in seen} == {"inside"}, path


async def test_a_missing_thing_and_anothers_look_the_same_to_a_scoped_key(
    heldard_kernel: Any, make_key: MakeKey
) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera("outside")
        task_id = await kernel.add_task("outside")
        key = await make_key(kernel, capabilities=["registry:manage"], scope_cameras=["inside"])
        for method in ("PATCH", "DELETE"):
            theirs, missing = [
                await kernel.request(method, f"/api/v1/ai-tasks/{name}", {}, **{"X-API-Key": key})
                for name in (task_id, "ai_missing")
            ]
            assert (theirs.status, theirs.body) == (missing.status, missing.body)
            assert theirs.status == 403


def _keys() -> Any:
    from heldard import keys

    return keys
