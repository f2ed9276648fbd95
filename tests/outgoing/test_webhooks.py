"""Webhooks: what is sent, to whom, how long, and what becomes of what cannot be delivered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from heldard import keys
from heldard.outgoing import signing
from heldard.outgoing.service import retry_s
from heldard.testing import Kernel
from tests.outgoing.conftest import Target, raise_event

LOCAL = {"outgoing": {"allow_private": True, "coalesce_s": 0}}


async def hook(kernel: Kernel, target: Target, **fields: Any) -> str:
    reply = await kernel.request("POST", "/api/v1/webhooks", {"name": "x", "url": target.url, **fields})
    assert reply.status == 201, reply.body
    return str(reply.body["id"])


async def state(kernel: Kernel, webhook_id: str) -> Any:
    return next(row for row in await kernel.get("/api/v1/webhooks") if row["id"] == webhook_id)


async def until(kernel: Kernel, webhook_id: str, **wanted: Any) -> Any:
    """The webhook once it shows these values: answers of the target come in real time."""
    async with asyncio.timeout(10):
        while True:
            row = await state(kernel, webhook_id)
            if all(row[name] == value for name, value in wanted.items()):
                return row
            await asyncio.sleep(0.01)


async def test_events_from_now_on_arrive_in_order_with_upstreams_body_and_headers(
    heldard_kernel: Any, target: Target
) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        await raise_event(kernel, payload={"n": 0})
        webhook_id = await hook(kernel, target)
        last = [await raise_event(kernel, payload={"n": n}) for n in range(1, 4)][-1]
        await target.wait(3)
        assert [json.loads(body)["payload"]["n"] for _, body in target.got] == [1, 2, 3]
        headers, body = target.got[0]
        sent = json.loads(body)
        assert set(sent) >= {"id", "camera_id", "site_id", "event_type", "severity", "timestamp", "payload"}
        assert headers["X-Heldar-Event"] == sent["event_type"] == "person_seen"
        assert headers["X-Heldar-Delivery"] == headers["webhook-id"] == sent["id"]
        assert "X-Heldar-Signature" not in headers
        row = await until(kernel, webhook_id, cursor_seq=last)
        assert (row["state"], row["lag"], row["attempts"]) == ("ok", 0, 0)
        async with asyncio.timeout(10):  # the last line of the ledger is written just after the cursor
            while len(deliveries := await kernel.get(f"/api/v1/webhooks/{webhook_id}/deliveries")) < 3:
                await asyncio.sleep(0.01)
        assert [(d["status"], d["response_code"], d["attempts"]) for d in deliveries] == [("delivered", 204, 1)] * 3


def test_signatures_known_answers() -> None:
    """The second from the specification's own example of Standard Webhooks."""
    plain = signing.headers("id", "t", b"body", "secret", 0)
    assert plain["X-Heldar-Signature"] == f"sha256={hmac.new(b'secret', b'body', hashlib.sha256).hexdigest()}"
    standard = signing.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", "t", b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        1_614_265_330_000,
    )  # fmt: skip
    assert standard["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_x51_tests_are_signed_with_the_secret_itself(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target, secret="s3cret-of-mine")
        assert (await state(kernel, webhook_id))["has_secret"] is True
        reply = await kernel.request("POST", f"/api/v1/webhooks/{webhook_id}/test")
        assert reply.body == {"delivered": True, "status_code": 204, "error": None}
        headers, body = target.got[0]
        expected = hmac.new(b"s3cret-of-mine", body, hashlib.sha256).hexdigest()
        assert headers["X-Heldar-Signature"] == f"sha256={expected}"
        stored = (await kernel.rows("SELECT secret FROM webhook_subscriptions"))[0]["secret"]
        assert stored.startswith("enc:v1:")
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.new(b"s3cret-of-mine", signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"


async def test_types_and_severity_choose(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target, event_types=["a", "b"], min_severity="warning")
        for event_type, severity in (("a", "info"), ("c", "critical"), ("b", "critical"), ("a", "warning")):
            last = await raise_event(kernel, event_type, severity=severity)
        await until(kernel, webhook_id, cursor_seq=last)
        assert [json.loads(body)["event_type"] for _, body in target.got] == ["b", "a"]


async def test_x50_one_dead_target_delays_no_other(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        dead = Target(url="http://127.0.0.1:1/")
        dead_id, live_id = await hook(kernel, dead), await hook(kernel, target)
        last = await raise_event(kernel)
        await until(kernel, live_id, cursor_seq=last)
        row = await until(kernel, dead_id, state="failing")
        assert row["lag"] == 1


async def test_a_target_in_trouble_is_waited_for_and_order_kept(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target)
        target.answers = [503, 302, 429, 204]
        await raise_event(kernel, payload={"n": 1})
        last = await raise_event(kernel, payload={"n": 2})
        for attempts in (1, 2, 3):
            await until(kernel, webhook_id, attempts=attempts)
            await kernel.advance(retry_s(attempts, 1))
        await until(kernel, webhook_id, cursor_seq=last, state="ok")
        assert [json.loads(body)["payload"]["n"] for _, body in target.got] == [1, 1, 1, 1, 2]
        ids = {headers["webhook-id"] for headers, _ in target.got[:4]}
        assert len(ids) == 1  # so that the target can tell a retry


async def test_the_place_and_the_patience_outlive_a_restart(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target)
        target.answers = [500]
        await raise_event(kernel, payload={"n": 1})
        await until(kernel, webhook_id, attempts=1)
        await kernel.restart()
        last = await raise_event(kernel, payload={"n": 2})
        assert len(target.got) == 1  # it still waits its time
        await kernel.advance(10)
        await until(kernel, webhook_id, cursor_seq=last)
        assert [json.loads(body)["payload"]["n"] for _, body in target.got] == [1, 1, 2]


async def test_an_event_nobody_takes_is_dead_after_five_tries_and_can_be_sent_again(
    heldard_kernel: Any, target: Target
) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target)
        target.answers = [422] * 5
        await raise_event(kernel, payload={"n": 1})
        last = await raise_event(kernel, payload={"n": 2})
        for attempts in (1, 2, 3, 4):
            await until(kernel, webhook_id, attempts=attempts)
            await kernel.advance(retry_s(attempts, 1))
        await until(kernel, webhook_id, cursor_seq=last)
        path = f"/api/v1/webhooks/{webhook_id}"
        dead = await kernel.get(f"{path}/deliveries?dead=true")
        assert [(d["status"], d["attempts"], d["response_code"]) for d in dead] == [("dead", 5, 422)]
        target.answers = [500]
        failed = (await kernel.request("POST", f"{path}/resend", {})).body
        assert failed == {"delivered": [], "failed": {dead[0]["id"]: "the target answered 500"}}
        again = (await kernel.request("POST", f"{path}/resend", {"delivery_ids": [dead[0]["id"]]})).body
        assert again == {"delivered": [dead[0]["id"]], "failed": {}}
        assert json.loads(target.got[-1][1])["payload"] == {"n": 1}
        assert await kernel.get(f"{path}/deliveries?dead=true") == []
        missing = await kernel.request("POST", f"{path}/resend", {"delivery_ids": [dead[0]["id"]]})
        assert (missing.status, missing.body["code"]) == (404, "delivery_not_found")


async def test_after_days_of_trouble_events_are_put_aside(heldard_kernel: Any, target: Target) -> None:
    settings = {"outgoing": {"allow_private": True, "coalesce_s": 0, "give_up_hours": 2}}
    async with heldard_kernel(settings=settings) as kernel:
        webhook_id = await hook(kernel, target)
        target.answers = [500] * 100
        await raise_event(kernel)
        attempts = 0
        while (row := await state(kernel, webhook_id))["lag"]:
            attempts += 1
            await until(kernel, webhook_id, attempts=attempts)
            before = len(target.got)
            kernel.clock.jump_to(kernel.clock.now_ms() + int(retry_s(attempts, 1) * 1000))
            await target.wait(before + 1)
            await kernel.settle()
            await asyncio.sleep(0.02)
        assert row["last_error"] == "the target answered 500"
        assert len(await kernel.get(f"/api/v1/webhooks/{webhook_id}/deliveries?dead=true")) == 1


def test_waits_double_from_five_seconds_to_an_hour() -> None:
    assert [retry_s(n, 0) for n in (1, 2, 3, 10, 11, 999)] == [5, 10, 20, 2560, 3600, 3600]
    assert retry_s(1, 1) == 6.25


async def test_a_target_that_is_gone_is_disabled(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target)
        target.answers = [410]
        await raise_event(kernel)
        row = await until(kernel, webhook_id, state="disabled")
        assert row["enabled"] is False


async def noticed(kernel: Kernel, times: int) -> None:
    """The event is written just after the state that shows it."""
    async with asyncio.timeout(10):
        while len(found := await kernel.events("webhook_signing_secret_unusable")) < times:
            await asyncio.sleep(0.01)
    assert len(found) == times


async def test_a_secret_that_cannot_be_opened_halts_once_an_hour_and_holds_the_place(
    heldard_kernel: Any, target: Target
) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target, secret="s3cret", event_types=["mine"])
        await kernel.stop()
        (kernel.data_dir / "secret.key").unlink()
        await kernel.start()
        await raise_event(kernel, "mine")
        await until(kernel, webhook_id, state="halted")
        await noticed(kernel, 1)
        await kernel.advance(3601)
        await noticed(kernel, 2)
        assert target.got == []
        await kernel.request("PATCH", f"/api/v1/webhooks/{webhook_id}", {"secret": "new"})
        await target.wait(1)


async def test_x54_floods_of_workers_are_thinned_and_counted_and_the_log_keeps_all(
    heldard_kernel: Any, target: Target
) -> None:
    async with heldard_kernel(settings={"outgoing": {"allow_private": True}}) as kernel:
        webhook_id = await hook(kernel, target)
        for _ in range(25):
            await raise_event(kernel, "object_detected")
            last = await raise_event(kernel, "ingest_unleased")
            await kernel.advance(1)
        await until(kernel, webhook_id, cursor_seq=last)
        sent = [json.loads(body) for _, body in target.got]
        floods = [event.get("coalesced", 0) for event in sent if event["event_type"] == "object_detected"]
        assert floods == [0, 9, 9]
        assert sum(event["event_type"] == "ingest_unleased" for event in sent) == 25
        assert len(await kernel.events("object_detected")) == 25


async def test_patching_and_removing(heldard_kernel: Any, target: Target) -> None:
    async with heldard_kernel(settings=LOCAL) as kernel:
        webhook_id = await hook(kernel, target, secret="s")
        path = f"/api/v1/webhooks/{webhook_id}"
        assert (await kernel.request("PATCH", path, {"name": "y"})).body["has_secret"] is True
        assert (await kernel.request("PATCH", path, {"secret": None, "enabled": False})).body["has_secret"] is False
        await raise_event(kernel)
        assert (await kernel.request("PATCH", path, {"enabled": True})).status == 200
        await target.wait(1)
        assert (await kernel.request("DELETE", path)).status == 204
        assert (await kernel.request("PATCH", path, {})).status == 404
        names = [service.name for service in kernel.app[keys.SUPERVISOR].status()]
        assert [name for name in names if name.startswith("webhook.")] == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.com/", "bad_url"), ("http://", "bad_url"), ("http://u:p@example.com/", "bad_url"),
        ("http://[::1", "bad_url"), ("http://a b/", "bad_url"), ("http://example.com:99999/", "bad_url"),
        ("http://169.254.169.254/latest", "target_refused"), ("http://127.0.0.1/", "target_refused"),
        ("http://10.0.0.1/", "target_refused"), ("http://[::ffff:169.254.169.254]/", "target_refused"),
    ],
)  # fmt: skip
async def test_targets_that_are_refused(heldard_kernel: Any, url: str, code: str) -> None:
    async with heldard_kernel() as kernel:
        reply = await kernel.request("POST", "/api/v1/webhooks", {"name": "x", "url": url})
        assert (reply.status, reply.body["code"]) == (400, code)
