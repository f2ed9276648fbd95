"""Signing in, sessions, lockout, keys, bootstrap, audit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from heldard import keys
from heldard.auth.model import KeyPatch, UserCreate, UserPatch
from heldard.testing import Kernel
from tests.auth.conftest import MakeKey

ON = {"auth": {"enabled": True}}
MakeUser = Callable[..., Awaitable[str]]


async def login(kernel: Kernel, username: str = "ada", password: str = "correct horse") -> Any:
    return await kernel.request("POST", "/api/v1/auth/login", {"username": username, "password": password})


async def me(kernel: Kernel, token: str) -> Any:
    return await kernel.request("GET", "/api/v1/auth/me", None, Authorization=f"Bearer {token}")


def drop_cookies(kernel: Kernel) -> None:
    assert kernel._client is not None
    kernel._client.session.cookie_jar.clear()


async def test_signing_in_gives_a_token_and_a_strict_cookie(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings={"auth": {"enabled": True, "cookie_secure": True}}) as kernel:
        user_id = await make_user(kernel)
        reply = await login(kernel, "ADA")
        assert reply.status == 200
        assert reply.body["expires_at"] == "2026-01-02T00:00:00Z"
        assert set(reply.body["user"]) >= {
            "id",
            "username",
            "role",
            "display_name",
            "active",
            "created_at",
            "updated_at",
        }
        cookie = reply.headers["Set-Cookie"]
        assert cookie.startswith(f"heldar_session={reply.body['token']}; ")
        assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(cookie.split("; "))
        drop_cookies(kernel)
        who = (await me(kernel, reply.body["token"])).body
        assert (who["id"], who["name"], who["role"], who["kind"]) == (user_id, "ada", "admin", "user")


async def test_signing_in_takes_over_no_session_that_was_planted(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        planted = "vos_" + "a" * 64
        body = {"username": "ada", "password": "correct horse"}
        reply = await kernel.request("POST", "/api/v1/auth/login", body, Cookie=f"heldar_session={planted}")
        assert reply.status == 200
        assert reply.body["token"] != planted
        assert reply.headers["Set-Cookie"].startswith(f"heldar_session={reply.body['token']}; ")
        drop_cookies(kernel)
        assert (await me(kernel, planted)).status == 401
        first = reply.body["token"]
        second = (await login(kernel)).body["token"]
        assert second != first  # each sign-in has a session of its own, and the older one goes on
        drop_cookies(kernel)
        assert (await me(kernel, first)).status == (await me(kernel, second)).status == 200


async def test_the_first_token_that_is_not_blank_counts(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        key, other = await make_key(kernel, name="one"), await make_key(kernel, name="two")
        for headers, name in (
            ({"Authorization": f"Bearer {key}", "X-API-Key": other}, "one"),
            ({"Authorization": f"bearer {key}"}, "one"),
            ({"Authorization": "Bearer  ", "X-API-Key": other}, "two"),
            ({"Authorization": "Basic Zm9v", "X-API-Key": other}, "two"),
            ({"X-API-Key": " ", "Cookie": f"heldar_session={key}"}, "one"),
        ):
            reply = await kernel.request("GET", "/api/v1/auth/me", None, **headers)
            assert reply.body["name"] == name, headers
        bad_first = {"Authorization": "Bearer vok_bad", "X-API-Key": key}
        assert (await kernel.request("GET", "/api/v1/auth/me", None, **bad_first)).status == 401


async def test_only_hashes_of_tokens_are_stored(heldard_kernel: Any, make_user: MakeUser, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        token = (await login(kernel)).body["token"]
        key = await make_key(kernel)
        assert (token[:4], key[:4], len(token), len(key)) == ("vos_", "vok_", 68, 68)
        for path in kernel.data_dir.iterdir():
            if path.is_file():
                content = path.read_bytes()
                assert token.encode() not in content, path
                assert key.encode() not in content, path
                assert b"correct horse" not in content, path


async def test_every_refused_login_reads_the_same(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        disabled = await make_user(kernel, "bob", "viewer")
        await kernel.app[keys.ACCESS].change_user(disabled, UserPatch(active=False))
        replies = [
            await login(kernel, "ada", "wrong password"),
            await login(kernel, "nobody"),
            await login(kernel, "bob"),
        ]
        assert {reply.status for reply in replies} == {401}
        assert len({str(reply.body) for reply in replies}) == 1


async def test_an_unknown_name_takes_a_hash_too(heldard_kernel: Any, make_user: MakeUser, monkeypatch: Any) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        from heldard.auth import passwords

        checked: list[str] = []
        real = passwords._matches
        monkeypatch.setattr(passwords, "_matches", lambda stored, given: checked.append(stored) or real(stored, given))
        await login(kernel, "nobody")
        assert len(checked) == 1
        assert checked[0].startswith("$argon2id$")


async def test_five_failures_lock_even_the_right_password_out_for_a_quarter_of_an_hour(
    heldard_kernel: Any, make_user: MakeUser
) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        user_id = await make_user(kernel)
        for _ in range(5):
            assert (await login(kernel, "ada", "wrong password")).status == 401
        assert (await login(kernel)).status == 401
        await kernel.restart()
        assert (await login(kernel)).status == 401
        await kernel.advance(15 * 60 - 1)
        assert (await login(kernel)).status == 401
        await kernel.advance(1)
        assert (await login(kernel, "ada", "wrong password")).status == 401  # counting starts again
        reply = await login(kernel)
        assert reply.status == 200
        row = (await kernel.rows("SELECT failures, locked_until_ms FROM users WHERE id = ?", (user_id,)))[0]
        assert row == {"failures": 0, "locked_until_ms": None}


async def test_an_administrator_unlocks(heldard_kernel: Any, make_user: MakeUser, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        user_id = await make_user(kernel)
        for _ in range(5):
            await login(kernel, "ada", "wrong password")
        headers = {"X-API-Key": await make_key(kernel, role="admin")}
        assert (await kernel.request("GET", "/api/v1/users", None, **headers)).body[0]["locked"] is True
        reply = await kernel.request("POST", f"/api/v1/users/{user_id}/unlock", None, **headers)
        assert (reply.status, reply.body["locked"]) == (200, False)
        assert (await login(kernel)).status == 200


async def test_zero_failures_never_lock(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings={"auth": {"enabled": True, "login_max_failures": 0}}) as kernel:
        await make_user(kernel)
        for _ in range(7):
            await login(kernel, "ada", "wrong password")
        assert (await login(kernel)).status == 200


@pytest.mark.parametrize(
    ("settings", "use_every_h", "lasts_h"),
    [
        ({"session_ttl_hours": 2}, 1, 2),
        ({"session_ttl_hours": 2, "session_max_hours": 5}, 1, 5),
        ({"session_ttl_hours": 8, "session_idle_min": 90}, 2, 2),
        ({"session_ttl_hours": 3, "session_idle_min": 90}, 1, 3),
    ],
)
async def test_how_long_a_session_lasts(
    heldard_kernel: Any, make_user: MakeUser, settings: Any, use_every_h: int, lasts_h: int
) -> None:
    async with heldard_kernel(settings={"auth": {"enabled": True, **settings}}) as kernel:
        await make_user(kernel)
        token = (await login(kernel)).body["token"]
        drop_cookies(kernel)
        elapsed = 0
        while elapsed < 12:
            elapsed += use_every_h
            kernel.clock.jump_to(kernel.clock.now_ms() + use_every_h * 3_600_000)
            await kernel.settle()
            if (await me(kernel, token)).status == 401:
                break
        assert elapsed == lasts_h


async def test_signing_out_ends_the_session_and_always_answers_204(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        token = (await login(kernel)).body["token"]
        drop_cookies(kernel)
        for _ in range(2):
            reply = await kernel.request("POST", "/api/v1/auth/logout", None, Authorization=f"Bearer {token}")
            assert reply.status == 204
            assert "heldar_session=" in reply.headers["Set-Cookie"]
        assert (await me(kernel, token)).status == 401
        assert (await kernel.request("POST", "/api/v1/auth/logout")).status == 204


async def test_a_changed_password_or_disabling_signs_out_everywhere(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        bob = await make_user(kernel, "bob", "viewer")
        admin = {"Authorization": f"Bearer {(await login(kernel)).body['token']}"}
        for change in ({"password": "another horse"}, {"active": False}):
            token = (await login(kernel, "bob", "correct horse")).body["token"]
            drop_cookies(kernel)
            assert (await me(kernel, token)).status == 200
            assert (await kernel.request("PATCH", f"/api/v1/users/{bob}", change, **admin)).status == 200
            assert (await me(kernel, token)).status == 401
            if "password" in change:
                await kernel.request("PATCH", f"/api/v1/users/{bob}", {"password": "correct horse"}, **admin)


async def test_there_is_always_an_administrator(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        ada = await make_user(kernel)
        headers = {"Authorization": f"Bearer {(await login(kernel)).body['token']}"}
        for change in ({"role": "viewer"}, {"active": False}):
            reply = await kernel.request("PATCH", f"/api/v1/users/{ada}", change, **headers)
            assert (reply.status, reply.body["code"]) == (400, "last_admin")
        reply = await kernel.request("DELETE", f"/api/v1/users/{ada}", None, **headers)
        assert (reply.status, reply.body["code"]) == (400, "self_delete")
        eve = await make_user(kernel, "eve")
        assert (await kernel.request("DELETE", f"/api/v1/users/{eve}", None, **headers)).status == 204
        assert (await kernel.request("DELETE", f"/api/v1/users/{eve}", None, **headers)).status == 404


async def test_names_are_unique_whatever_their_case_and_passwords_have_eight_characters(
    heldard_kernel: Any, make_key: MakeKey
) -> None:
    async with heldard_kernel() as kernel:
        body = {"username": "ada", "password": "12345678"}
        first = await kernel.request("POST", "/api/v1/users", body)
        assert (first.status, first.body["role"]) == (201, "viewer")
        assert "password" not in str(first.body)
        again = await kernel.request("POST", "/api/v1/users", {**body, "username": "Ada"})
        assert (again.status, again.body["code"]) == (409, "user_exists")
        short = await kernel.request("POST", "/api/v1/users", {"username": "bob", "password": "1234567"})
        assert short.status == 400


async def test_a3_privileged_keys_are_confirmed_and_a1_lists_replace_roles(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        for fields in ({"role": "admin"}, {"role": "manager"}, {"capabilities": ["gate:operate"]}):
            reply = await kernel.request("POST", "/api/v1/api-keys", {"name": "x", **fields})
            assert (reply.status, reply.body["code"]) == (400, "unconfirmed_privilege")
        reply = await kernel.request(
            "POST", "/api/v1/api-keys", {"name": "x", "role": "admin", "capabilities": ["ai:tasks"]}
        )
        assert (reply.body["capabilities"], reply.body["legacy_role_expansion"]) == (["ai:tasks"], False)
        unknown = await kernel.request("POST", "/api/v1/api-keys", {"name": "x", "capabilities": ["fly"]})
        assert (unknown.status, unknown.body["code"]) == (400, "unknown_capability")
        listed = (await kernel.get("/api/v1/api-keys"))[0]
        assert "key" not in listed
        assert reply.body["key"].startswith(listed["key_prefix"])


async def test_a_misspelt_limit_does_not_make_an_unlimited_key(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        body = {"name": "one camera", "cameras": ["gate"]}
        reply = await kernel.request("POST", "/api/v1/api-keys", body)
        assert (reply.status, "`cameras`" in reply.body["error"]) == (422, True), reply.body
        assert await kernel.get("/api/v1/api-keys") == []


async def test_a1_expired_revoked_and_disabled_keys_are_denied(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        admin = {"X-API-Key": await make_key(kernel, role="admin")}
        body = {"name": "x", "expires_at": "2026-01-01T12:00:10Z"}
        made = (await kernel.request("POST", "/api/v1/api-keys", body, **admin)).body
        path, headers = f"/api/v1/api-keys/{made['id']}", {"X-API-Key": made["key"]}

        async def works() -> bool:
            return (await kernel.request("GET", "/api/v1/ai/tasks", None, **headers)).status == 200

        assert await works()
        await kernel.advance(10)
        assert not await works()
        await kernel.request("PATCH", path, {"expires_at": None}, **admin)
        assert await works()
        await kernel.request("PATCH", path, {"active": False}, **admin)
        assert not await works()
        await kernel.request("PATCH", path, {"active": True}, **admin)
        assert (await kernel.request("DELETE", path, None, **admin)).status == 204
        assert not await works()
        past = await kernel.request("POST", "/api/v1/api-keys", body, **admin)
        assert (past.status, past.body["code"]) == (400, "expiry_passed")


async def test_a1_a_stored_key_that_cannot_be_read_grants_nothing(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        for column, value in (("role", "boss"), ("capabilities", "[1"), ("cameras", '{"a": 1}')):
            key = await make_key(kernel)
            statement = f"UPDATE api_keys SET {column} = ? WHERE key_prefix = ?"
            await kernel.app[keys.DB].write(lambda c, s=statement, v=value, k=key: c.execute(s, (v, k[:12])).rowcount)
            await kernel.restart()
            reply = await kernel.request("GET", "/api/v1/ai/tasks", None, **{"X-API-Key": key})
            assert reply.status == 401, column


async def test_a4_last_use_is_written_at_most_once_a_minute(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        key = await make_key(kernel)

        async def used() -> int:
            await kernel.request("GET", "/api/v1/ai/tasks", None, **{"X-API-Key": key})
            await kernel.settle()
            return int((await kernel.rows("SELECT used_ms FROM api_keys"))[0]["used_ms"])

        first = await used()
        await kernel.advance(59)
        assert await used() == first
        await kernel.advance(1)
        assert await used() == first + 60_000


async def test_a_limited_key_limits_its_holder_on_an_open_box(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel() as kernel:
        headers = {"X-API-Key": await make_key(kernel, capabilities=["camera:read"])}
        assert (await kernel.request("GET", "/api/v1/cameras", None, **headers)).status == 200
        assert (await kernel.request("GET", "/api/v1/events", None, **headers)).status == 403
        assert (await kernel.request("GET", "/api/v1/events")).status == 200


async def test_the_first_administrator_comes_from_the_environment_once(heldard_kernel: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_USER", "root")
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_PASSWORD", "correct horse")
    async with heldard_kernel(settings=ON) as kernel:
        assert (await login(kernel, "root")).body["user"]["role"] == "admin"
        monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_USER", "other")
        await kernel.restart()
        assert (await login(kernel, "other")).status == 401


async def test_the_first_administrators_password_may_be_a_credential(
    heldard_kernel: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    (tmp_path / "bootstrap-admin-password").write_text("correct horse\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_PASSWORD", "not this one")
    async with heldard_kernel(settings=ON) as kernel:
        assert (await login(kernel, "admin")).body["user"]["role"] == "admin"


async def test_a_bad_first_administrator_stops_the_start(heldard_kernel: Any, monkeypatch: Any) -> None:
    from heldard.errors import ConfigError

    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_USER", "root")
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_PASSWORD", "short")
    kernel = heldard_kernel(settings=ON)
    with pytest.raises(ConfigError, match="BOOTSTRAP"):
        await kernel.start()


async def test_what_another_process_changed_is_taken_up(heldard_kernel: Any, make_key: MakeKey) -> None:
    """The command line writes beside the running daemon."""
    from heldard.auth.cli import opened
    from heldard.auth.model import KeyCreate

    async with heldard_kernel(settings=ON) as kernel:
        async with opened(kernel.app[keys.SETTINGS]) as access:
            secret, key = await access.add_key(KeyCreate(name="from outside"))
        headers = {"X-API-Key": secret}
        assert (await kernel.request("GET", "/api/v1/ai/tasks", None, **headers)).status == 200
        async with opened(kernel.app[keys.SETTINGS]) as access:
            await access.revoke_key(key.id)
        await kernel.advance(2)
        assert (await kernel.request("GET", "/api/v1/ai/tasks", None, **headers)).status == 401


async def test_every_change_is_in_the_audit_log_with_names_of_fields_and_no_values(
    heldard_kernel: Any, make_key: MakeKey
) -> None:
    async with heldard_kernel() as kernel:
        headers = {"X-API-Key": await make_key(kernel, name="ops", role="admin")}
        camera = {"name": "Gate", "password": "hunter2-secret", "username": "u"}
        await kernel.request("POST", "/api/v1/cameras", camera, **headers)
        await kernel.request("PATCH", "/api/v1/cameras/gate", {"password": "other-secret"}, **headers)
        await kernel.request("DELETE", "/api/v1/cameras/missing", None, **headers)  # refused: nothing changed
        await kernel.request("DELETE", "/api/v1/cameras/gate", None, **headers)
        entries = await kernel.get("/api/v1/audit")
        assert [(e["action"], e["target_id"], e["camera_id"]) for e in entries] == [
            ("delete_camera", "gate", "gate"), ("patch_camera", "gate", "gate"), ("create_camera", "gate", None),
        ]  # fmt: skip
        assert {entry["actor_name"] for entry in entries} == {"ops"}
        assert entries[1]["detail"]["fields"] == ["password"]
        assert "secret" not in str(entries)
        page = await kernel.request("GET", "/api/v1/audit?limit=2")
        rest = await kernel.get(f"/api/v1/audit?cursor={page.headers['X-Next-Cursor']}")
        assert [*page.body, *rest] == entries
        assert await kernel.get("/api/v1/audit?action=patch_camera&actor=system") == []


async def test_a_flood_of_logins_is_turned_away(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings={"auth": {"enabled": True, "login_max_failures": 0}}) as kernel:
        await make_user(kernel)
        replies = await asyncio.gather(*(login(kernel, "ada", "wrong password") for _ in range(40)))
        statuses = [reply.status for reply in replies]
        assert set(statuses) == {401, 429}
        assert "Retry-After" in next(reply for reply in replies if reply.status == 429).headers


class Held:
    """Keeps one of a store's writes from ending until it is let go."""

    def __init__(self, store: Any, method: str) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()
        self._real = getattr(store, method)
        setattr(store, method, self)

    async def __call__(self, *given: Any, **more: Any) -> Any:
        self.begun.set()
        await self.let_go.wait()
        return await self._real(*given, **more)


async def test_a_wrong_password_at_the_same_moment_does_not_undo_a_change(
    heldard_kernel: Any, make_user: MakeUser
) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        bob = await make_user(kernel, "bob", "viewer")
        access = kernel.app[keys.ACCESS]
        held = Held(access._store, "put_user")
        disabling = asyncio.ensure_future(access.change_user(bob, UserPatch(active=False)))
        await held.begun.wait()
        assert (await login(kernel, "bob", "wrong password")).status == 401
        held.let_go.set()
        await disabling
        await kernel.settle()
        assert await kernel.rows("SELECT active FROM users WHERE id = ?", (bob,)) == [{"active": 0}]
        assert not access.user(bob).active


async def test_a_wrong_password_at_the_same_moment_does_not_bring_back_who_was_removed(
    heldard_kernel: Any, make_user: MakeUser
) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        ada = await make_user(kernel)
        bob = await make_user(kernel, "bob", "viewer")
        access = kernel.app[keys.ACCESS]
        held = Held(access._store, "delete_user")
        removing = asyncio.ensure_future(access.remove_user(bob, ada))
        await held.begun.wait()
        assert (await login(kernel, "bob", "wrong password")).status == 401
        held.let_go.set()
        await removing
        await kernel.settle()
        assert await kernel.rows("SELECT id FROM users") == [{"id": ada}]


async def test_a_key_that_is_revoked_while_it_is_renamed_stays_revoked(heldard_kernel: Any, make_key: MakeKey) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_key(kernel)
        access = kernel.app[keys.ACCESS]
        key_id = access.all_keys()[0].id
        held = Held(access._store, "put_key")
        revoking = asyncio.ensure_future(access.revoke_key(key_id))
        await held.begun.wait()
        renaming = asyncio.ensure_future(access.change_key(key_id, KeyPatch(name="new")))
        held.let_go.set()
        await asyncio.gather(revoking, renaming)
        row = (await kernel.rows("SELECT name, revoked_ms FROM api_keys"))[0]
        assert row["name"] == "new"
        assert row["revoked_ms"] is not None
        assert access.all_keys()[0].revoked_ms is not None


async def test_a_password_that_was_changed_while_it_was_checked_does_not_sign_in(
    heldard_kernel: Any, make_user: MakeUser
) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        ada = await make_user(kernel)
        access = kernel.app[keys.ACCESS]
        held = Held(access._passwords, "check")
        signing_in = asyncio.ensure_future(login(kernel))
        await held.begun.wait()
        real = held._real
        held._real = lambda *given: _true()
        await access.change_user(ada, UserPatch(password="another horse"))
        held.let_go.set()
        assert (await signing_in).status == 401
        held._real = real
        assert (await login(kernel, "ada", "another horse")).status == 200


async def _true() -> bool:
    return True


async def test_a_session_used_as_it_ends_stays_ended(heldard_kernel: Any, make_user: MakeUser) -> None:
    async with heldard_kernel(settings=ON) as kernel:
        await make_user(kernel)
        token = (await login(kernel)).body["token"]
        drop_cookies(kernel)
        kernel.clock.jump_to(kernel.clock.now_ms() + 120_000)
        access = kernel.app[keys.ACCESS]
        held = Held(access._store, "use_session")
        assert (await me(kernel, token)).status == 200
        await held.begun.wait()
        await access.sign_out(token)
        held.let_go.set()
        await kernel.settle()
        assert await kernel.rows("SELECT token FROM sessions") == []


async def test_usernames_are_plain(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        for name in ("", "a b", "a\n", "x" * 65, "ä"):
            body = {"username": name, "password": "12345678"}
            assert (await kernel.request("POST", "/api/v1/users", body)).status == 400
    assert UserCreate(username="ada", password="12345678").role == "viewer"
