"""The plugin in the real kernel, on virtual time, over HTTP."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from heldard_anpr.commands import UnansweredError, group
from PIL import Image

from heldard import keys
from heldard.auth.model import KeyCreate
from heldard.testing import Kernel, Scene

PLATE = "AB12CDE"


class RelayStub:
    """An HTTP relay that counts, and fails when told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str | None]] = []
        self.fails: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append((request.path, await request.text(), request.headers.get("X-Secret")))
        return web.Response(status=self.fails.pop(0) if self.fails else 204)

    @property
    def opened(self) -> int:
        return sum(path.startswith("/on") for path, _, _ in self.calls)


@pytest.fixture
async def relay() -> AsyncIterator[tuple[RelayStub, str]]:
    stub = RelayStub()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", stub.answer)
    server = TestServer(app)
    await server.start_server()
    yield stub, str(server.make_url("/")).rstrip("/")
    await server.close()


def gated(url: str, **more: Any) -> dict[str, Any]:
    """Settings with an HTTP relay at the camera `gate`."""
    actuator = {
        "type": "http", "on": {"url": url + "/on/{port}", "body": '{"event": "{event_id}"}'},
        "off": {"url": url + "/off/{port}"}, "timeout_s": 2,
    }  # fmt: skip
    return {"plugins": {"anpr": {"cameras": {"gate": {"actuator": actuator | more.pop("actuator", {})}}} | more}}


def car(plate: str = PLATE, *, seconds: float = 1.0, track: str = "1", confidence: float = 0.96, enter: float = 0.0,
        **more: Any) -> Scene:  # fmt: skip
    scene = Scene("gate", task_type="anpr", fps=5)
    return add_car(scene, plate, seconds=seconds, track=track, confidence=confidence, enter=enter, **more)


def add_car(scene: Scene, plate: str, *, seconds: float = 1.0, track: str = "1", confidence: float = 0.96,
            enter: float = 0.0, **more: Any) -> Scene:  # fmt: skip
    vehicle = scene.vehicle(track, plate=plate, plate_confidence=confidence, **more)
    vehicle.enter(enter, at=(0.5, 0.8)).stand(seconds).leave()
    return scene


async def call(kernel: Kernel, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    reply = await kernel.request(method, f"/api/v1{path}", body)
    assert reply.status == status, f"{method} {path}: {reply.status} {reply.body}"
    return reply.body


async def the_event(kernel: Kernel) -> dict[str, Any]:
    (event,) = await call(kernel, "GET", "/entry-events")
    return dict(event)


Make = Callable[..., Kernel]


# --- the gate --------------------------------------------------------------------------------------------------------


async def set_up_gate(kernel: Kernel, **policy: Any) -> None:
    await kernel.add_camera("gate")
    await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
    await call(kernel, "PUT", "/entry/gate/policies/gate", {"enabled": True, "output_port": 3} | policy)


async def test_p38_p40_a_listed_car_opens_the_gate_and_it_is_told(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel, pulse_ms=500)
        await kernel.play(car())
        event = await the_event(kernel)
        assert stub.calls[0] == ("/on/3", f'{{"event": "{event["id"]}"}}', None)
        await kernel.advance(1)
        await asyncio.sleep(0.1)
        await kernel.settle()
        assert [path for path, _, _ in stub.calls] == ["/on/3", "/off/3"]
        (told,) = await kernel.events("gate_opened")
        assert told["severity"] == "info"
        assert told["payload"]["reference"] == event["id"]
        assert told["payload"]["port"] == 3
        assert told["payload"]["pulse_ms"] == 500
        (opening,) = (await call(kernel, "GET", f"/entry-events/{event['id']}/decision"))["openings"]
        assert opening["state"] == "opened"


async def test_p39_switching_off_is_tried_once_more(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    stub.fails = [204, 500, 204]
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        await kernel.advance(1.1)
        await asyncio.sleep(0.1)
        await kernel.settle()
        await kernel.advance(0.3)
        await asyncio.sleep(0.1)
        await kernel.settle()
        assert [path for path, _, _ in stub.calls] == ["/on/3", "/off/3", "/off/3"]
        assert len(await kernel.events("gate_opened")) == 1


async def test_p39_an_output_that_stays_on_is_told_as_that(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    stub.fails = [204, 500, 500]
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        for _ in range(3):
            await kernel.advance(1.1)
            await asyncio.sleep(0.1)
            await kernel.settle()
        (told,) = await kernel.events("gate_open_failed")
        assert "switched on and could not be switched off again" in told["payload"]["error"]


async def test_a_crash_while_the_output_is_on_switches_it_off_at_the_next_start(
    heldard_kernel: Make, relay: Any
) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel, pulse_ms=20_000)
        await kernel.play(car())
        await asyncio.sleep(0.1)
        await kernel.settle()
        assert [path for path, _, _ in stub.calls] == ["/on/3"]
        await kernel.crash()
        await kernel.start()
        assert [path for path, _, _ in stub.calls] == ["/on/3", "/off/3"]
        (told,) = await kernel.events("gate_open_failed")
        assert told["payload"]["state"] == "unknown"
        assert "its output was switched off" in told["payload"]["error"]
        await kernel.advance(300)
        assert stub.opened == 1


async def test_p40_a_relay_that_fails_is_told_and_not_tried_again(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    stub.fails = [503] * 9
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        await asyncio.sleep(0.1)
        await kernel.advance(60)
        (told,) = await kernel.events("gate_open_failed")
        assert told["severity"] == "warning"
        assert "HTTP 503" in told["payload"]["error"]
        assert stub.opened == 1


async def test_p41_opening_by_hand(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url, actuator={"off": None})) as kernel:
        await kernel.add_camera("gate")
        refused = await call(kernel, "POST", "/entry/gate/open/gate", status=400)
        assert refused["code"] == "no_policy"
        await set_up_gate(kernel, enabled=False)
        assert await call(kernel, "POST", "/entry/gate/open/gate") == {"ok": True, "pulse_ms": 1000}
        assert stub.opened == 1
        await call(kernel, "PUT", "/entry/gate/settings", {"kill_switch": True})
        assert (await call(kernel, "POST", "/entry/gate/open/gate", status=400))["code"] == "kill_switch"
        await call(kernel, "PUT", "/entry/gate/settings", {"kill_switch": False})
        stub.fails = [500]
        assert (await call(kernel, "POST", "/entry/gate/open/gate", status=400))["code"] == "gate_device"
        assert [row["state"] for row in await call(kernel, "GET", "/anpr/openings/gate")] == ["failed", "opened"]


async def test_the_secret_header_is_read_from_its_file_and_never_shown(
    heldard_kernel: Make, relay: Any, tmp_path: Any
) -> None:
    stub, url = relay
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    actuator = {"off": None, "secret_header": "X-Secret", "secret_file": str(secret)}
    async with heldard_kernel("anpr", settings=gated(url, actuator=actuator)) as kernel:
        await set_up_gate(kernel)
        await call(kernel, "POST", "/entry/gate/open/gate")
        assert stub.calls[0][2] == "open sesame"
        assert "sesame" not in str(await call(kernel, "GET", "/entry/gate"))


async def test_a_stale_opening_is_not_carried_out(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        member = kernel.app[keys.FANOUT].member("anpr")
        await member.hold("the test holds it")
        await kernel.play(car())
        await kernel.advance(60)
        await member.resume()
        await kernel.drain()
        await kernel.advance(300)
        event = await the_event(kernel)
        assert event["audit"]["evidence"]["actuated"] is True, "it was asked for"
        assert stub.calls == []
        (told,) = await kernel.events("gate_open_failed")
        assert told["payload"]["state"] == "unknown"


async def test_the_kill_switch_holds_at_the_moment_of_opening(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        gate = kernel.plugin("anpr").ask("heldard_register_actions", ctx=kernel.context("anpr"))[0]
        await call(kernel, "PUT", "/entry/gate/settings", {"kill_switch": True})
        payload = {"key": "open:x", "camera_id": "gate", "event_id": "x", "plate": PLATE, "port": 1, "pulse_ms": 100,
                   "mode": "auto"}  # fmt: skip
        assert await gate.run(payload) == {"state": "refused", "reason": "kill_switch"}
        assert stub.calls == []


async def test_a_crash_at_any_write_of_a_visit_makes_one_event_and_at_most_one_opening(
    tmp_path: Any, relay: Any
) -> None:
    stub, url = relay
    opened: list[int] = []
    point = 0
    while point < 400:
        point += 13
        stub.calls.clear()
        async with Kernel(tmp_path / str(point), "anpr", settings=gated(url)) as kernel:
            await set_up_gate(kernel)
            kernel.crash_plan.crash_at(point)
            crashed = await play_through_crash(kernel, car(seconds=2))
            await kernel.drain()
            await kernel.advance(20)
            await asyncio.sleep(0.02)
            await kernel.advance(400)
            await the_event(kernel)
            assert len(await kernel.events("entry_matched")) == 1
            assert stub.opened <= 1
            ends = await kernel.events("gate_opened", "gate_open_failed")
            assert len(ends) == 1, "how it ended is told once"
            opened.append(stub.opened)
        if not crashed:
            break
    else:
        pytest.fail("the scene never ended without a crash")
    assert len(opened) > 5
    assert opened.count(1) > len(opened) // 2


async def play_through_crash(kernel: Kernel, scene: Scene) -> bool:
    """Post the scene as a worker that keeps a batch until it is taken; whether the daemon crashed on the way."""
    crashed = False
    task_id = await kernel.task_for(scene)
    began_ms = kernel.clock.now_ms()
    for shot in scene.shots():
        at_ms = began_ms + round(shot.second * 1000)
        await kernel.advance_to(at_ms)
        body = kernel.shot_body(scene, shot, task_id, at_ms)
        await kernel.post(body)
        await kernel.settle()
        if kernel.crash_plan.dead:
            crashed = True
            await kernel.crash()
            await kernel.start()
            assert (await kernel.post(body)).status == 200
    return crashed


async def test_a_deleted_camera_takes_its_gate_with_it(heldard_kernel: Make, relay: Any) -> None:
    _, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        assert (await kernel.request("DELETE", "/api/v1/cameras/gate")).status == 204
        await kernel.settle()
        assert (await call(kernel, "GET", "/entry/gate"))["policies"] == []
        await the_event(kernel)


# --- decisions -------------------------------------------------------------------------------------------------------


async def test_a_lone_fast_car_is_told_by_time_alone(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.play(car(seconds=0))
        assert await call(kernel, "GET", "/entry-events") == []
        await kernel.advance(12)
        event = await the_event(kernel)
        assert event["workflow_status"] == "review"
        assert (await call(kernel, "GET", "/anpr/review"))[0]["id"] == event["id"]


async def test_the_decision_record_tells_the_whole_story(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"regions": ["GB"]}}}) as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": "AB12CDE", "owner_name": "Ada"}, 201)
        scene = Scene("gate", task_type="anpr", fps=5)
        vehicle = scene.vehicle("1", plate="AB12CDE", plate_confidence=0.96).enter(0, at=(0.5, 0.8)).stand(0.3)
        vehicle.becomes(plate="ABI2CDE").stand(0.2).becomes(plate="AB12CDE", plate_confidence=0.2).stand(0.2)
        vehicle.becomes(plate_confidence=0.96).stand(0.6).leave()
        await kernel.play(scene)
        await kernel.advance(20)
        event = await the_event(kernel)
        found = await call(kernel, "GET", f"/entry-events/{event['id']}/decision")
        (visit,) = found["visits"]
        fates = [read["fate"] for read in visit["reads"]]
        assert "below_floor" in fates
        assert fates.count("vote") >= 3
        assert all(read["frame_id"] for read in visit["reads"])
        record = visit["decisions"][0]["record"]
        assert (record["plate"], record["shape"], record["gate"]) == ("AB12CDE", "LLNNLLL", "no_policy")
        assert record["lists"]["person"] == "Ada"
        text = await explain(kernel, "AB12CDE")
        assert "matched by P-24" in text
        assert "below_floor" in text
        assert "every character had its votes" in text


async def explain(kernel: Kernel, what: str) -> str:
    return await command(kernel, "explain", what)


async def test_amendments_near_plates_repeats_and_reviews_are_explained(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": "ABC1234"}, 201)
        scene = Scene("gate", task_type="anpr", fps=5)
        vehicle = scene.vehicle("1", plate="A8C1234", plate_confidence=0.62).enter(0, at=(0.5, 0.8)).stand(2.5)
        vehicle.becomes(plate="ABC1234", plate_confidence=0.98).stand(2).leave()
        add_car(scene, "ABC1234", track="2", enter=30)
        await kernel.play(scene)
        await kernel.advance(20)
        event = await the_event(kernel)
        await call(kernel, "POST", f"/entry-events/{event['id']}/correct", {"plate": "ABC1284", "note": "seen"})
        text = await explain(kernel, event["id"])
        assert "lists: exception by near (registered_vehicle" in text
        assert "read 8 for B in place 2" in text
        assert "near: ABC1234 (vehicle, distance" in text
        assert "amendment of A8C1234" in text
        assert "vote, outvoted" not in text
        assert "repeats the event" in text
        assert "system: auto -> corrected, plate ABC1234 -> ABC1284: seen" in text


async def command(kernel: Kernel, *words: str) -> str:
    """What `heldard anpr ...` prints."""

    def run() -> Any:
        return CliRunner().invoke(group, [*words, "--api", kernel.url], catch_exceptions=False)

    result = await asyncio.to_thread(run)
    assert result.exit_code == 0, result.output
    return str(result.output)


async def test_the_command_line_moves_lists_and_tries_plates(heldard_kernel: Make, tmp_path: Any) -> None:
    file = tmp_path / "staff.csv"
    file.write_text("plate,owner_name\nAB12 CDE,Ada\n--,nobody\n")
    async with heldard_kernel("anpr") as kernel:
        tried = await command(kernel, "import", "vehicles", str(file), "--dry-run")
        assert "line 3: plate: '--'" in tried
        assert "would be added 1, updated 0, unchanged 0, refused 1" in tried
        assert "added 1" in await command(kernel, "import", "vehicles", str(file))
        assert "AB12 CDE,Ada" in await command(kernel, "export", "vehicles")
        assert "AB12CDE: matched (P-24)" in await command(kernel, "match", "ab12cde")
        assert "near AB12CDE (vehicle" in await command(kernel, "match", "A812CDE")
        with pytest.raises(UnansweredError, match="no entry event"):
            await command(kernel, "explain", "QQ1QQQ")
        with pytest.raises(UnansweredError, match="HTTP 404: no entry event"):
            await command(kernel, "explain", "evt_nothing")
        with pytest.raises(UnansweredError, match="http"):
            CliRunner().invoke(group, ["match", "X", "--api", "file:///etc"], catch_exceptions=False)
        with pytest.raises(UnansweredError, match="no daemon answers"):
            CliRunner().invoke(group, ["match", "X", "--api", "http://127.0.0.1:9"], catch_exceptions=False)


async def test_an_unknown_region_refuses_the_plugin_by_name_and_nothing_else(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"regions": ["XX"]}}}) as kernel:
        plugin = kernel.plugin("anpr")
        assert plugin.state == "refused"
        assert "no plate region 'XX'" in str(plugin.reason)
        assert await kernel.add_camera("gate") == "gate"


async def test_a_guard_of_one_camera_reviews_and_opens_only_there(heldard_kernel: Make, relay: Any) -> None:
    _, url = relay
    settings = gated(url)
    async with heldard_kernel("anpr", settings=settings) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        event = await the_event(kernel)
        access = kernel.app[keys.ACCESS]
        scoped: dict[str, dict[str, str]] = {}
        for camera in ("gate", "back"):
            await kernel.add_camera(camera)
            body = KeyCreate(name=camera, capabilities=["gate:operate", "video:playback"], scope_kind="cameras",
                             scope_cameras=[camera], confirm_privileged=True)  # fmt: skip
            scoped[camera] = {"X-API-Key": (await access.add_key(body))[0]}
        path = f"/api/v1/entry-events/{event['id']}/confirm"
        assert (await kernel.request("POST", path, None, **scoped["back"])).status == 404
        assert (await kernel.request("POST", path, None, **scoped["gate"])).status == 200
        opening = "/api/v1/entry/gate/open/gate"
        assert (await kernel.request("POST", opening, None, **scoped["back"])).status == 403


async def test_evidence_is_the_frame_that_was_read_with_the_plate_cut_out(heldard_kernel: Make) -> None:
    out = io.BytesIO()
    Image.new("RGB", (200, 100), "white").save(out, "JPEG")
    async with heldard_kernel("anpr") as kernel:
        scene = car(plate_bbox=[0.5, 0.5, 0.25, 0.2])
        await kernel.task_for(scene)
        began = kernel.clock.now_ms()
        for shot in scene.shots():
            kernel.hold_frame("gate", began + round(shot.second * 1000), jpeg=out.getvalue())
        await kernel.play(scene)
        event = await the_event(kernel)
        path = event["evidence"]["snapshot_path"]
        assert path.startswith("snapshots/gate-sub-")
        assert (await kernel.request("GET", f"/media/{path}")).status == 200
        (visit,) = (await call(kernel, "GET", f"/entry-events/{event['id']}/decision"))["visits"]
        crops = [read["crop"] for read in visit["reads"] if read["crop"]]
        reply = await kernel.request("GET", crops[0])
        assert reply.status == 200
        with Image.open(io.BytesIO(reply.body)) as cut:
            assert cut.size == (66, 26), "a quarter by a fifth of 200 x 100, with the margin"
        missing = await kernel.request("GET", f"/api/v1/anpr/visits/{visit['id']}/reads/99/crop")
        assert missing.status == 404


async def test_entry_events_page_by_cursor_and_filter(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        scene = Scene("gate", task_type="anpr", fps=5)
        for number in range(5):
            add_car(scene, f"ABC10{number}Z", track=str(number), enter=number * 2.0)
        await kernel.play(scene)
        whole = await call(kernel, "GET", "/entry-events")
        assert [event["plate"] for event in whole] == [f"ABC10{number}Z" for number in (4, 3, 2, 1, 0)]
        paged: list[Any] = []
        path = "/api/v1/entry-events?limit=2"
        while True:
            reply = await kernel.request("GET", path)
            paged += reply.body
            if "x-next-cursor" not in reply.headers:
                break
            path = f"/api/v1/entry-events?limit=2&cursor={reply.headers['x-next-cursor']}"
        assert paged == whole
        assert [e["plate"] for e in await call(kernel, "GET", "/entry-events?plate=abc-100z")] == ["ABC100Z"]
        assert await call(kernel, "GET", "/entry-events?auth_status=matched") == []
        middle = whole[2]["timestamp"].replace("+", "%2B")
        assert len(await call(kernel, "GET", f"/entry-events?from={middle}")) == 3
        assert len(await call(kernel, "GET", f"/entry-events?to={middle}")) == 2
        for bad in ("from=yesterday", "limit=abc", "cursor=zzz"):
            await call(kernel, "GET", f"/entry-events?{bad}", status=400)


async def test_rejected_reads_are_counted_where_an_operator_looks(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        scene = car()
        add_car(scene, "XY34ZZZ", track="2", enter=3, confidence=0.2)
        await kernel.play(scene)
        await kernel.advance(30)
        (figures,) = await call(kernel, "GET", "/anpr/figures")
        assert figures == {
            "camera_id": "gate", "visits": 2, "with_event": 1, "repeats": 0, "unread": 1,
            "reads": {"below_floor": 6, "vote": 6},
        }  # fmt: skip
        assert len(await call(kernel, "GET", "/anpr/visits?unread=true")) == 1
        assert await call(kernel, "GET", "/anpr/figures?to=2000-01-01T00:00:00Z") == []


async def test_reports(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        scene = car()
        add_car(scene, "XY34ZZZ", track="2", enter=3)
        await kernel.play(scene)
        log = await call(kernel, "GET", "/reports/entry-log")
        assert (log["total"], log["by_auth_status"]) == (2, {"matched": 1, "unmatched": 1})
        assert (await call(kernel, "GET", "/reports/exceptions"))["total"] == 1
        assert (await call(kernel, "GET", "/reports/entry-log?date=1999-01-01"))["total"] == 0
        await call(kernel, "GET", "/reports/entry-log?date=never", status=400)
        event = next(event for event in log["events"] if event["auth_status"] == "matched")
        await call(kernel, "POST", f"/entry-events/{event['id']}/reject")
        assert (await call(kernel, "GET", "/reports/exceptions"))["total"] == 2


# --- reviews ---------------------------------------------------------------------------------------------------------


async def test_x45_reviews_follow_the_states(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.play(car())
        event = await the_event(kernel)
        path = f"/entry-events/{event['id']}"
        done = await call(kernel, "POST", f"{path}/confirm", {"note": "known"})
        assert done["workflow_status"] == "confirmed"
        assert done["workflow"]["resolved_by"] == "system"
        assert done["workflow"]["note"] == "known"
        refused = await call(kernel, "POST", f"{path}/confirm", status=409)
        assert refused["code"] == "workflow_step"
        await call(kernel, "POST", f"{path}/reject", status=409)
        await call(kernel, "POST", f"{path}/reopen")
        await call(kernel, "POST", f"{path}/reject", {"note": None})
        steps = [(r["from_status"], r["to_status"]) for r in (await call(kernel, "GET", f"{path}/decision"))["reviews"]]
        assert steps == [("pending", "confirmed"), ("confirmed", "pending"), ("pending", "rejected")]
        await call(kernel, "POST", "/entry-events/evt_nobody/confirm", status=404)


async def test_a_correction_teaches_and_survives_a_restart(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.play(car("AB12CWE"))
        event = await the_event(kernel)
        done = await call(kernel, "POST", f"/entry-events/{event['id']}/correct", {"plate": "ab12 cze"})
        assert (done["plate"], done["workflow_status"]) == ("AB12CZE", "corrected")
        counts = await call(kernel, "GET", "/anpr/confusions")
        assert [(row["printed"], row["read"]) for row in counts] == [("Z", "W")]
        assert counts[0]["count"] >= 3
        for _ in range(2):
            recorder = kernel.plugin("anpr").ask("heldard_register_consumers", ctx=kernel.context("anpr"))[0].recorder
            assert recorder.rules.ballot.confusions.share("Z", "W") > 0.05
            await kernel.restart()
        await call(kernel, "POST", f"/entry-events/{event['id']}/correct", {"plate": "QQ99QQQ"}, 400)


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_vehicles_over_http(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        made = await call(kernel, "POST", "/vehicles", {"plate": "ab-12 cde", "owner_name": "Ada", "unknown": 1}, 201)
        assert (made["plate_norm"], made["owner_type"], made["active"]) == ("AB12CDE", "visitor", True)
        assert (await call(kernel, "POST", "/vehicles", {"plate": "AB12CDE"}, 409))["code"] == "already_listed"
        backwards = {"plate": "X1", "valid_from": "2026-02-02T00:00:00Z", "valid_until": "2026-02-01T00:00:00Z"}
        for bad in ({"plate": "--"}, {"plate": "X1", "owner_type": "king"}, {"plate": "X1", "group_id": "grp_0"},
                    {"plate": "X1", "valid_from": "soon"}, backwards):  # fmt: skip
            await call(kernel, "POST", "/vehicles", bad, 400)
        await call(kernel, "POST", "/vehicles", {}, 422)
        path = f"/vehicles/{made['id']}"
        until = await call(kernel, "PATCH", path, {"valid_until": "2030-01-01T00:00:00Z", "notes": "blue"})
        assert until["valid_until"] == "2030-01-01T00:00:00Z"
        cleared = await call(kernel, "PATCH", path, {"valid_until": "", "notes": None, "plate": None})
        assert (cleared["valid_until"], cleared["notes"], cleared["plate"]) == (None, None, "ab-12 cde")
        assert [v["id"] for v in await call(kernel, "GET", "/vehicles?q=ada")] == [made["id"]]
        assert [v["id"] for v in await call(kernel, "GET", "/vehicles?plate=ab12cde")] == [made["id"]]
        await call(kernel, "DELETE", path, status=204)
        await call(kernel, "GET", path, status=404)
        await call(kernel, "DELETE", path, status=404)


async def test_passes_over_http(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        made = await call(kernel, "POST", "/passes", {"visitor_name": "Grace", "plate": "xy 1"}, 201)
        assert made["code"].startswith("V-")
        assert len(made["code"]) == 8
        path = f"/passes/{made['id']}"
        assert (await call(kernel, "POST", f"{path}/checkin"))["status"] == "checked_in"
        assert (await call(kernel, "POST", f"{path}/checkout"))["status"] == "checked_out"
        assert (await call(kernel, "POST", f"{path}/checkin", status=409))["code"] == "pass_state"
        await call(kernel, "PATCH", path, {"status": "revoked"})
        await call(kernel, "POST", f"{path}/checkout", status=409)
        assert (await call(kernel, "PATCH", path, {"status": "active"}))["status"] == "active"
        events = await call(kernel, "GET", "/entry-events")
        assert {(e["event_type"], e["camera_id"], e["auth_status"], e["workflow_status"]) for e in events} == {
            ("visitor_checkin", None, "matched", "confirmed"), ("visitor_checkout", None, "matched", "confirmed"),
        }  # fmt: skip
        await call(kernel, "POST", "/passes", {"visitor_name": " "}, 400)
        await call(kernel, "DELETE", path, status=204)


async def test_watchlist_over_http(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        made = await call(kernel, "POST", "/watchlist", {"plate": "京 A·12345"}, 201)
        assert (made["plate_norm"], made["kind"], made["severity"]) == ("京A12345", "block", "warning")
        await call(kernel, "POST", "/watchlist", {"plate": "京A12345", "kind": "vip"}, 409)
        path = f"/watchlist/{made['id']}"
        changed = await call(kernel, "PATCH", path, {"kind": "alert", "plate": "OTHER1", "active": False})
        assert (changed["kind"], changed["plate_norm"], changed["active"]) == ("alert", "京A12345", False)
        await call(kernel, "DELETE", path, status=204)
        assert await call(kernel, "GET", "/watchlist") == []


async def test_groups_and_their_schedules(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        group_ = await call(kernel, "POST", "/anpr/groups", {"name": "night", "schedule": [{"begins": "22:00"}]}, 201)
        await call(kernel, "POST", "/anpr/groups", {"name": "night"}, 409)
        await call(kernel, "POST", "/anpr/groups", {"name": "x", "schedule": [{"begins": "25:00"}]}, 400)
        vehicle = await call(kernel, "POST", "/vehicles", {"plate": PLATE, "group_id": group_["id"]}, 201)
        await kernel.play(car())
        event = await the_event(kernel)
        assert (event["auth_status"], event["authorization"]["note"]) == ("exception", "outside_schedule")
        await call(kernel, "PATCH", f"/anpr/groups/{group_['id']}", {"schedule": []})
        assert (await call(kernel, "GET", f"/anpr/match?plate={PLATE}"))["resolution"]["status"] == "matched"
        await call(kernel, "DELETE", f"/anpr/groups/{group_['id']}", status=204)
        assert (await call(kernel, "GET", f"/vehicles/{vehicle['id']}"))["group_id"] is None


async def upload(kernel: Kernel, name: str, text: str, *, dry_run: bool = False, status: int = 200) -> Any:
    assert kernel._client is not None
    path = f"/api/v1/anpr/lists/{name}?dry_run={str(dry_run).lower()}"
    async with kernel._client.post(path, data=text.encode(), headers={"content-type": "text/csv"}) as response:
        body = await response.json()
        assert response.status == status, body
        return body


async def test_csv_in_and_out(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        text = (
            "plate,owner_name,owner_type,active\n"
            "AB12 CDE,Ada,staff,true\n"
            ",nobody,,\n"
            "XY34ZZZ,=1+1,visitor,yes\n"
            "AB12CDE,Ada L.,,\n"
            "QQ1QQQ,x,king,\n"
        )
        tried = await upload(kernel, "vehicles", text, dry_run=True)
        assert [line["outcome"] for line in tried["lines"]] == ["added", "refused", "added", "updated", "refused"]
        assert await call(kernel, "GET", "/vehicles") == []
        done = await upload(kernel, "vehicles", text)
        assert done | {"dry_run": True} == tried
        assert (done["added"], done["updated"], done["refused"]) == (2, 1, 2)
        assert [line["line"] for line in done["lines"]] == [2, 3, 4, 5, 6]
        assert (await upload(kernel, "vehicles", text))["unchanged"] == 1
        reply = await kernel.request("GET", "/api/v1/anpr/lists/vehicles")
        exported = reply.body.decode()
        assert "'=1+1" in exported
        assert "AB12 CDE,Ada L.,staff" in exported
        again = await upload(kernel, "vehicles", exported)
        assert (again["refused"], again["added"]) == (0, 0)
        found = await call(kernel, "GET", "/anpr/match?plate=AB12CD")
        assert found["near"][0]["plate"] == "AB12CDE", "imported entries are found when misread"


@pytest.mark.parametrize("text", ["", "nonsense\nx", 'plate\n"unclosed', "plate\n" + "A1\n" * 20_001])
async def test_csv_that_is_none_is_refused_whole(heldard_kernel: Make, text: str) -> None:
    async with heldard_kernel("anpr") as kernel:
        if text.startswith('plate\n"'):
            report = await upload(kernel, "vehicles", text)
            assert report["added"] == 1
            return
        await upload(kernel, "vehicles", text, status=400)
        await upload(kernel, "nothing", "plate\n", status=400)


# --- stays -----------------------------------------------------------------------------------------------------------


async def test_stays_pair_entries_with_exits(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.play(car(direction="inbound"))
        (inside,) = await call(kernel, "GET", "/anpr/inside")
        assert (inside["plate"], inside["state"], inside["entry_camera"]) == (PLATE, "inside", "gate")
        await kernel.advance(600)
        await kernel.play(car(direction="outbound", track="2"))
        assert await call(kernel, "GET", "/anpr/inside") == []
        (stay,) = await call(kernel, "GET", f"/anpr/stays?plate={PLATE}")
        assert stay["state"] == "left"
        assert 600 <= stay["stay_s"] <= 602
        assert stay["exit_event"] != stay["entry_event"]


async def test_an_overstay_is_told_once_and_when_it_began(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"max_stay_h": 0.5}}}) as kernel:
        await kernel.play(car(direction="inbound"))
        event = await the_event(kernel)
        await kernel.advance(1790)
        assert await kernel.events("anpr_overstay") == []
        await kernel.advance(600)
        (told,) = await kernel.events("anpr_overstay")
        assert told["payload"]["entry_event_id"] == event["id"]
        assert told["payload"]["allowed_s"] == 1800
        assert (await call(kernel, "GET", "/anpr/inside"))[0]["overstayed"] is True


@pytest.mark.parametrize("follows", [True, False])
async def test_tailgating_is_another_vehicle_gone_on_one_opening(
    heldard_kernel: Make, relay: Any, follows: bool
) -> None:
    _, url = relay
    async with heldard_kernel("anpr", settings=gated(url, actuator={"off": None})) as kernel:
        await set_up_gate(kernel)
        scene = car()
        add_car(scene, "XY34ZZZ", track="2", enter=2, seconds=2 if follows else 60)
        await kernel.play(scene)
        await kernel.advance(30)
        told = await kernel.events("anpr_tailgating")
        assert len(told) == int(follows)
        if follows:
            assert told[0]["payload"]["plate"] == "XY34ZZZ"
            assert told[0]["payload"]["opened_for"] != told[0]["payload"]["followed_by"]


# --- privacy ---------------------------------------------------------------------------------------------------------


async def test_unmatched_plates_are_kept_as_a_hash_where_the_site_wants_that(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"hash_unmatched": True}}}) as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        scene = car(direction="inbound")
        add_car(scene, "XY34ZZZ", track="2", enter=3, direction="inbound")
        add_car(scene, "XY34ZZZ", track="3", enter=20, confidence=0.2)
        await kernel.play(scene)
        await kernel.advance(30)
        for table in ("entry_events", "anpr_reads", "anpr_decisions", "anpr_stays", "consumer_state", "events"):
            found = str([dict(row) for row in await kernel.rows(f"SELECT * FROM {table}")])
            assert "XY34ZZZ" not in found, table
            assert PLATE in found or table == "consumer_state", table
        (event,) = await call(kernel, "GET", "/entry-events?plate=xy34zzz")
        assert event["plate"].startswith("#")
        assert event["subject"]["plate"] == event["plate"]


async def test_what_is_stored_of_a_plate_is_given_out_and_erased(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        await kernel.play(car(direction="inbound"))
        await kernel.advance(30)
        stored = await call(kernel, "GET", f"/anpr/plates/{PLATE}")
        assert {table: bool(rows) for table, rows in stored.items()} == {
            "vehicles": True, "visitor_passes": False, "watchlist": False, "entry_events": True, "anpr_stays": True,
            "anpr_reads": True,
        }  # fmt: skip
        gone = await call(kernel, "DELETE", f"/anpr/plates/{PLATE}?lists=true")
        assert gone == {"events": 1, "visits": 1, "list_entries": 1}
        assert not any((await call(kernel, "GET", f"/anpr/plates/{PLATE}")).values())
        assert await kernel.rows("SELECT * FROM anpr_decisions") == []
        assert await kernel.rows("SELECT * FROM anpr_plate_keys") == []


async def test_retention_differs_by_status(heldard_kernel: Make) -> None:
    retention = {"retention_days": {"unmatched": 1, "matched": 3}}
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": retention}}) as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        scene = car()
        add_car(scene, "XY34ZZZ", track="2", enter=3)
        await kernel.play(scene)
        await kernel.advance(30)
        await kernel.stop()
        kernel.clock.jump_to(kernel.clock.now_ms() + 2 * 86_400_000)
        await kernel.start()
        await kernel.advance(1)
        assert (await the_event(kernel))["plate"] == PLATE
        assert {row["visit_id"] for row in await kernel.rows("SELECT visit_id FROM anpr_reads")} == {
            row["id"] for row in await kernel.rows("SELECT id FROM anpr_visits")
        }


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/anpr/groups", {"name": "staff", "max_stay_s": 2**63}),
        ("PUT", "/api/v1/entry/gate/policies/gate", {"output_port": 2**63}),
        ("POST", "/api/v1/passes", {"visitor_name": "one", "valid_from": "9999-12-31T23:59:59-23:59"}),
    ],
)
async def test_numbers_and_times_that_no_column_holds_are_refused(
    heldard_kernel: Make, method: str, path: str, body: dict[str, Any]
) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        reply = await kernel.request(method, path, body)
        assert reply.status == 400, reply.body
        assert list(body)[-1] in reply.body["error"]
