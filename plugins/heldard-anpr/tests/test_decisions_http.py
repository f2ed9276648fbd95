"""Decisions, their records and their reviews, in the real kernel on virtual time, over HTTP."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any

import pytest
from click.testing import CliRunner
from heldard_anpr.commands import UnansweredError, group
from PIL import Image

from heldard import keys
from heldard.auth.model import KeyCreate
from heldard.clock import parse_rfc3339
from heldard.testing import Kernel, Scene

from .daemon import PLATE, Make, add_car, call, car, gated, set_up_gate, the_event


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


async def test_cutting_without_pillow_names_what_to_install(
    heldard_kernel: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    async with heldard_kernel("anpr") as kernel:
        scene = car(plate_bbox=[0.5, 0.5, 0.25, 0.2])
        await kernel.task_for(scene)
        began = kernel.clock.now_ms()
        for shot in scene.shots():
            kernel.hold_frame("gate", began + round(shot.second * 1000))
        await kernel.play(scene)
        event = await the_event(kernel)
        (visit,) = (await call(kernel, "GET", f"/entry-events/{event['id']}/decision"))["visits"]
        crops = [read["crop"] for read in visit["reads"] if read["crop"]]
        reply = await kernel.request("GET", crops[0])
        assert (reply.status, "heldard-anpr[crop]" in reply.body["error"]) == (503, True)


async def test_other_programs_read_entries_through_a_view(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.play(car())
        event = await the_event(kernel)
        (row,) = await kernel.rows("SELECT * FROM entry_events_read")
        assert (row["id"], row["plate"], row["camera_id"]) == (event["id"], event["plate"], "gate")
        assert parse_rfc3339(row["timestamp"]) == parse_rfc3339(event["timestamp"])
        assert set(row) == {
            "id", "timestamp", "camera_id", "event_type", "plate", "subject", "auth_status", "evidence", "direction",
            "track_id",
        }  # fmt: skip


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
