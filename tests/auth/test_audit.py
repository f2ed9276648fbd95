"""A change and its line in the audit log are committed together; refusals are in the log too, and cannot flood it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from click.testing import CliRunner

from heldard import keys
from heldard.auth.cli import api_keys
from heldard.auth.model import UserPatch
from heldard.auth.refusals import MOST_KINDS
from heldard.testing import Kernel
from tests.auth.conftest import MakeKey
from tests.auth.test_access import MakeUser, drop_cookies, login

ON = {"auth": {"enabled": True}}
TRIANGLE = [[0, 0], [1, 0], [1, 1]]
LINES = "SELECT action, target_id, detail FROM audit_log ORDER BY seq"

CHANGES: dict[str, tuple[str, str, Any, str]] = {
    "create_camera": ("POST", "/api/v1/cameras", {"id": "yard", "name": "Yard"}, "SELECT id FROM cameras"),
    "patch_camera": ("PATCH", "/api/v1/cameras/gate", {"name": "New"}, "SELECT name FROM cameras"),
    "delete_camera": ("DELETE", "/api/v1/cameras/gate", None, "SELECT id FROM cameras"),
    "create_task": ("POST", "/api/v1/cameras/gate/ai-tasks", {"task_type": "x"}, "SELECT task_type FROM ai_tasks"),
    "create_key": ("POST", "/api/v1/api-keys", {"name": "k"}, "SELECT name FROM api_keys"),
    "create_user": (
        "POST", "/api/v1/users", {"username": "eve", "password": "correct horse"}, "SELECT username FROM users",
    ),
    "create_webhook": (
        "POST", "/api/v1/webhooks", {"name": "w", "url": "https://example.org/"}, "SELECT * FROM webhook_subscriptions",
    ),
    "create": (  # a zone: committed by a lane, not by the request
        "POST", "/api/v1/cameras/gate/zones", {"name": "z", "polygon": TRIANGLE}, "SELECT name FROM zones",
    ),
    "add": ("POST", "/api/v1/vehicles", {"plate": "AB12CDE"}, "SELECT plate FROM vehicles"),
}  # fmt: skip


async def actions(kernel: Kernel) -> list[str]:
    return [row["action"] for row in await kernel.rows(LINES)]


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_and_its_line_are_both_there_or_both_not_wherever_the_store_fails(
    heldard_kernel: Any, action: str
) -> None:
    method, path, body, looked_at = CHANGES[action]
    async with heldard_kernel("zones", "anpr") as kernel:
        await kernel.add_camera("gate", name="Old")
        step = 0
        while True:
            step += 1
            before, lines = await kernel.rows(looked_at), await actions(kernel)
            kernel.crash_plan.crash_at(step)
            status = (await kernel.request(method, path, body)).status
            if kernel.crash_plan.dead:
                await kernel.crash()
                await kernel.start()
            changed = await kernel.rows(looked_at) != before
            assert changed == (await actions(kernel) == [*lines, action]), step
            if changed:
                break
            assert await actions(kernel) == lines, step
            assert status >= 500, step
        assert step > 2, "no step of the change was interrupted"


@pytest.mark.parametrize("action", CHANGES)
async def test_without_its_line_a_change_is_not_made(heldard_kernel: Any, action: str) -> None:
    method, path, body, looked_at = CHANGES[action]
    async with heldard_kernel("zones", "anpr") as kernel:
        await kernel.add_camera("gate", name="Old")
        before = await kernel.rows(looked_at)
        refuse = "CREATE TRIGGER no_line BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'no room'); END"
        await kernel.app[keys.DB].write(lambda connection: connection.execute(refuse).rowcount)
        reply = await kernel.request(method, path, body)
        assert (reply.status, reply.body["code"]) == (503, "store_unavailable")
        assert await kernel.rows(looked_at) == before
        await kernel.app[keys.DB].write(lambda connection: connection.execute("DROP TRIGGER no_line").rowcount)
        assert (await kernel.request(method, path, body)).status < 300
        assert (await actions(kernel))[-1] == action


async def test_a_change_that_fails_leaves_no_line(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera("gate")
        assert (await kernel.request("POST", "/api/v1/cameras", {"id": "gate", "name": "Again"})).status == 409
        assert await actions(kernel) == ["create_camera"]


async def test_a_line_says_which_thing_was_made(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        key = (await kernel.request("POST", "/api/v1/api-keys", {"name": "k"})).body
        assert (await kernel.rows(LINES))[-1]["target_id"] == key["id"]


async def test_what_is_done_outside_the_store_has_its_line_after_it(heldard_kernel: Any) -> None:
    async with heldard_kernel("zones") as kernel:
        assert (await kernel.request("POST", "/api/v1/consumers/zones/redrive")).status == 200
        assert await actions(kernel) == ["redrive"]


async def test_work_begun_by_a_request_takes_no_line_along(heldard_kernel: Any) -> None:
    """Its own line went with its own change; what services do later is not its doing."""
    async with heldard_kernel("zones") as kernel:
        await kernel.add_camera("gate")
        await kernel.add_task("gate")
        await kernel.post({"camera_id": "gate", "task_type": "detection", "frame_id": "1", "detections": []})
        await kernel.drain()
        assert await actions(kernel) == ["create_camera", "create_task"]


async def test_signing_in_and_out_is_in_the_log(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        user_id = await make_user(kernel)
        token = (await login(kernel)).body["token"]
        drop_cookies(kernel)
        for _ in range(2):  # the second finds nobody signed in
            await kernel.request("POST", "/api/v1/auth/logout", None, Authorization=f"Bearer {token}")
        assert [(row["action"], row["target_id"]) for row in await kernel.rows(LINES)] == [
            ("login", user_id), ("logout", user_id),
        ]  # fmt: skip


async def refusals(kernel: Kernel) -> list[tuple[str, str | None, dict[str, Any]]]:
    import msgspec

    await kernel.settle()
    rows = await kernel.rows(LINES)
    return [
        (row["action"], row["target_id"], msgspec.json.decode(row["detail"]))
        for row in rows
        if row["action"].endswith("_refused")
    ]


async def test_refused_logins_are_in_the_log_with_their_reason_and_nothing_that_was_typed(
    heldard_kernel: Any, make_user: MakeUser
) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        ada = await make_user(kernel)
        bob = await make_user(kernel, "bob", "viewer")
        await kernel.app[keys.ACCESS].change_user(bob, UserPatch(active=False))
        await login(kernel, "my secret", "typed into the wrong field")
        await login(kernel, "bob")
        for _ in range(5):
            await login(kernel, "ada", "wrong password")
        await login(kernel, "ada")
        found = await refusals(kernel)
        assert [(action, about, detail["reason"]) for action, about, detail in found] == [
            ("login_refused", None, "unknown_user"),
            ("login_refused", bob, "disabled"),
            ("login_refused", ada, "wrong_password"),
            ("login_refused", ada, "wrong_password_locks"),
            ("login_refused", ada, "locked"),
        ]
        assert {detail["from"] for _, _, detail in found} == {"127.0.0.1"}
        assert "secret" not in str(found)
        assert "wrong field" not in str(found)


async def test_a_failure_is_counted_with_its_line_or_neither(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        refuse = "CREATE TRIGGER no_line BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'no room'); END"
        await kernel.app[keys.DB].write(lambda connection: connection.execute(refuse).rowcount)
        assert (await login(kernel, "ada", "wrong password")).status == 401
        await kernel.settle()
        assert await kernel.rows("SELECT failures FROM users") == [{"failures": 0}]
        await kernel.app[keys.DB].write(lambda connection: connection.execute("DROP TRIGGER no_line").rowcount)
        assert (await login(kernel, "ada", "wrong password")).status == 401
        await kernel.settle()
        assert await kernel.rows("SELECT failures FROM users") == [{"failures": 2}]  # it was counted in memory


async def test_bad_tokens_are_in_the_log(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        access = kernel.app[keys.ACCESS]
        revoked, disabled = await make_key(kernel, name="a"), await make_key(kernel, name="b")
        expired = await make_key(kernel, name="c", expires_at="2026-01-01T12:00:10Z")
        await kernel.advance(10)
        one, two, three = sorted(access.all_keys(), key=lambda key: key.name)
        await access.revoke_key(one.id)
        from heldard.auth.model import KeyPatch

        await access.change_key(two.id, KeyPatch(active=False))
        for token in (revoked, disabled, expired, "vok_unknown", "vos_unknown", "x" * 600):
            assert (await kernel.request("GET", "/api/v1/cameras", None, **{"X-API-Key": token})).status == 401
        assert [(about, detail["reason"]) for _, about, detail in await refusals(kernel)] == [
            (one.id, "revoked_key"), (two.id, "disabled_key"), (three.id, "expired_key"), (None, "unknown_key"),
            (None, "unknown_session"),
        ]  # fmt: skip


async def test_a_flood_of_refusals_is_two_lines_and_their_number(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        for number in range(50):
            await kernel.request("GET", "/api/v1/cameras", None, **{"X-API-Key": f"vok_{number}"})
        assert [detail for _, _, detail in await refusals(kernel)] == [{"reason": "unknown_key", "from": "127.0.0.1"}]
        await kernel.advance(10 * 60)
        assert [detail for _, _, detail in await refusals(kernel)][1:] == [
            {"reason": "unknown_key", "from": "127.0.0.1", "again": 49}
        ]
        await kernel.advance(20 * 60)
        assert len(await refusals(kernel)) == 2


async def test_refusals_of_many_kinds_share_a_line_beyond_the_first_of_them(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        for number in range(MOST_KINDS + 20):
            await kernel.app[keys.ACCESS].refused("vok_unknown", f"10.0.0.{number}")
        found = await refusals(kernel)
        assert len(found) == MOST_KINDS + 1
        assert found[-1][2] == {"reason": "others", "from": None}
        await kernel.stop()  # what was only counted is written
        await kernel.start()
        assert (await refusals(kernel))[-1][2] == {"reason": "others", "from": None, "again": 19}


async def test_what_the_command_line_changes_is_in_the_log(heldard_kernel: Any) -> None:
    kernel = heldard_kernel(settings=ON)
    arguments = ["add", "worker", "--data-dir", str(kernel.data_dir)]
    result = await asyncio.to_thread(CliRunner().invoke, api_keys, arguments)
    assert result.exit_code == 0, result.output
    async with kernel:
        assert [(row["action"], row["target_id"]) for row in await kernel.rows(LINES)] == [
            ("create_key", kernel.app[keys.ACCESS].all_keys()[0].id)
        ]


async def test_the_first_administrator_is_in_the_log(heldard_kernel: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_USER", "root")
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_PASSWORD", "correct horse")
    async with heldard_kernel(settings=ON) as kernel:
        assert await actions(kernel) == ["bootstrap"]
