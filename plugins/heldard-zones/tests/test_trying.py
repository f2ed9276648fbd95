"""Shadow zones, backtests, why, the versions of a zone, and what is imported."""

from __future__ import annotations

from typing import Any

from heldard.plugin import parse_rfc3339
from heldard.testing import START_MS, Scene

from .daemon import HALF, QUICK, draw, told, visit


async def test_a_shadow_zone_is_counted_and_raises_nothing(kernel):
    await draw(kernel, config={**QUICK, "shadow": True})
    await kernel.play(visit())
    assert await kernel.events("zone_enter", "zone_exit") == []
    assert await told(kernel) == []
    assert [row["event_type"] for row in await told(kernel, shadow="true")] == ["enter", "exit"]
    counts = (await kernel.get("/api/v1/cameras/gate/zones/counts"))["zones"][0]
    assert (counts["shadow"], counts["events"]) == (True, {"enter": 1, "exit": 1})


def busy_day() -> Scene:
    scene = Scene("gate")
    scene.person("1").enter(0, at=(0.2, 0.9)).stand(8).walk_to((0.9, 0.9), seconds=2).stand(2).leave()
    scene.person("2").enter(1, at=(0.9, 0.8)).walk_to((0.1, 0.8), seconds=6).hide(3).stand(4).leave()
    scene.vehicle("3").enter(0, at=(0.3, 0.6)).stand(4).leave()
    scene.vehicle("4").enter(4.4, at=(0.31, 0.6)).stand(6).walk_to((0.8, 0.6), seconds=3).leave()
    return scene


async def test_a_backtest_says_what_live_said(kernel):
    fields = {"dwell_seconds": 3, "config": {"occupancy": {"over": 1, "seconds": 1}, "empty_seconds": 1}}
    await draw(kernel, **fields)
    await draw(kernel, "line", kind="line", polygon=[[0.5, 0], [0.5, 1]])
    await kernel.play(busy_day())
    await kernel.advance(60)
    for name in ("yard", "line"):
        zone = next(z for z in await kernel.get("/api/v1/cameras/gate/zones") if z["name"] == name)
        live = await told(kernel, zone_id=zone["id"])
        body = {"from": "2026-01-01T12:00:00Z", "to": "2026-01-01T12:01:00Z", "zone_id": zone["id"]}
        tried = (await kernel.request("POST", "/api/v1/cameras/gate/zones/backtest", body)).body
        assert live
        keys = ("event_type", "timestamp", "track_id", "label", "dwell_seconds", "visit", "reason", "bbox")
        assert [{k: e.get(k) for k in keys} for e in tried["events"]] == [{k: row[k] for k in keys} for row in live]
        change = tried["difference"]
        assert (change["same"], change["added"], change["gone"], change["moved"]) == (len(live), [], [], [])


async def test_a_backtest_shows_what_a_change_would_bring(kernel):
    await draw(kernel)
    await kernel.play(busy_day())
    await kernel.advance(60)
    body = {"from": "2026-01-01T12:00:00Z", "to": "2026-01-01T12:01:00Z"}
    body["zone"] = {"name": "yard", "polygon": HALF, "labels": ["person"], "config": {"enter_frames": 10}}
    tried = (await kernel.request("POST", "/api/v1/cameras/gate/zones/backtest", body)).body
    change = tried["difference"]
    assert {event["label"] for event in change["gone"]} == {"car"}
    assert change["added"] == []
    assert [moved["seconds"] for moved in change["moved"] if moved["event"]["event_type"] == "enter"] == [1.4, 1.4]
    assert tried["refused"]["label"] > 0
    assert [row["event_type"] for row in await told(kernel)].count("enter") == 3


NO_BACKTESTS = [
    ({"from": "2026-01-02T12:00:00Z"}, "bad_range"),
    ({"from": "noon"}, "bad_timestamp"),
    ({"zone_id": "zone_none"}, "zone_of_another_camera"),
    ({"zone": {"name": "z", "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}}, "polygon_crosses_itself"),
    ({}, "no_zone"),
]


async def test_a_backtest_that_cannot_be_run_says_why(kernel):
    for changes, code in NO_BACKTESTS:
        body = {"from": "2026-01-01T12:00:00Z", "to": "2026-01-01T12:01:00Z", **changes}
        reply = await kernel.request("POST", "/api/v1/cameras/gate/zones/backtest", body)
        assert (reply.status, reply.body["code"]) == (400, code)


async def test_a_backtest_reads_a_bounded_number_of_detections(heldard_kernel):
    async with heldard_kernel("zones", settings={"plugins": {"zones": {"max_backtest_detections": 1000}}}) as kernel:
        await kernel.add_camera("gate")
        zone = await draw(kernel)
        crowd = [{"label": "person", "bbox": [0.1, 0.1, 0.1, 0.1], "track_id": str(n)} for n in range(600)]
        for _ in range(2):
            await kernel.post({"camera_id": "gate", "task_type": "detection", "detections": crowd})
        body = {"from": "2026-01-01T11:00:00Z", "to": "2026-01-01T13:00:00Z", "zone_id": zone["id"]}
        reply = await kernel.request("POST", "/api/v1/cameras/gate/zones/backtest", body)
        assert (reply.status, reply.body["code"]) == (400, "too_much")


async def test_why_not_names_the_first_gate_that_said_no(kernel):
    zone = await draw(kernel, labels=["person"])
    scene = Scene("gate")
    scene.person("low", confidence=0.3).enter(0, at=(0.2, 0.9)).stand(2).leave()
    scene.person("brief").enter(0, at=(0.3, 0.5)).stand(0.2).leave()
    scene.person("far").enter(0, at=(0.9, 0.9)).stand(2).leave()
    scene.vehicle("car").enter(0, at=(0.2, 0.7)).stand(2).leave()
    scene.person(None).enter(0, at=(0.2, 0.3)).stand(1).leave()
    await kernel.play(scene)
    await kernel.advance(30)
    answer = await kernel.get(f"/api/v1/zones/{zone['id']}/why")
    assert {track["track_id"]: track["furthest"] for track in answer["tracks"]} == {
        "low": "confidence", "brief": "confirm", "far": "inside", "car": "label",
    }  # fmt: skip
    assert answer["untracked"] == 6
    assert answer["looks"] == []
    low = await kernel.get(f"/api/v1/zones/{zone['id']}/why?track_id=low")
    assert low["verdict"] == "no event: of 11 looks none came further than confidence, where 11 were stopped"
    assert low["looks"][0]["gates"] == {"label": "ok", "confidence": "0.3 is below 0.5"}
    assert low["looks"][0]["stopped_by"] == "confidence"
    brief = await kernel.get(f"/api/v1/zones/{zone['id']}/why?track_id=brief")
    assert [look["gates"]["confirm"] for look in brief["looks"]] == [
        "1 of 3 frames or 0.0 of 0.6 s", "2 of 3 frames or 0.2 of 0.6 s",
    ]  # fmt: skip


async def test_why_shows_the_looks_that_made_an_event(kernel):
    zone = await draw(kernel)
    await kernel.play(visit())
    answer = await kernel.get(f"/api/v1/zones/{zone['id']}/why?track_id=1&limit=3")
    assert answer["looks"][2]["events"] == ["enter"]
    assert answer["truncated"] is True
    assert answer["verdict"].startswith("enter at 2026-01-01T12:00:00.400Z; exit at ")
    nobody = await kernel.get(f"/api/v1/zones/{zone['id']}/why?track_id=9")
    assert nobody["verdict"] == "no detection with that track id in this range"


async def edit(kernel, zone: dict[str, Any], **fields: Any) -> None:
    assert (await kernel.request("PATCH", f"/api/v1/zones/{zone['id']}", fields)).status == 200


async def test_why_explains_an_old_moment_with_the_zone_of_then(kernel):
    zone = await draw(kernel, labels=["car"])
    await kernel.play(visit())
    await kernel.advance(30)
    edited_at = kernel.clock.now_ms()
    await edit(kernel, zone, labels=["person"], name="path")
    scene = Scene("gate", epoch="later")
    scene.person("2").enter(0, at=(0.2, 0.9)).stand(3).leave()
    await kernel.play(scene)
    await kernel.advance(30)
    path = f"/api/v1/zones/{zone['id']}/why?track_id="
    then = await kernel.get(path + "1")
    assert then["looks"][0]["gates"] == {"label": "person is not one of car"}
    assert then["events"] == []
    assert [(drawn["zone"]["labels"], drawn["zone"]["name"]) for drawn in then["drawn"]] == [
        (["car"], "yard"), (["person"], "path"),
    ]  # fmt: skip
    assert abs(parse_rfc3339(then["drawn"][0]["until"]) - edited_at) < 5000
    assert then["drawn"][0]["until"] == then["drawn"][1]["from"]
    now = await kernel.get(path + "2")
    assert [event["event_type"] for event in now["events"]] == ["enter", "exit"]


async def test_why_over_edits_says_what_live_said(kernel):
    """The zone is moved, renamed, switched off and on, another is drawn and deleted, while people are in it."""
    zone = await draw(kernel)
    scene = busy_day()
    task, began = await kernel.task_for(scene), kernel.clock.now_ms()
    other: dict[str, Any] = {}
    for shot in scene.shots():
        await kernel.advance_to(began + round(shot.second * 1000))
        await kernel.post(kernel.shot_body(scene, shot, task, began + round(shot.second * 1000)))
        match round(shot.second * 5):
            case 10:
                await edit(kernel, zone, polygon=[[0, 0.5], [0.25, 0.5], [0.25, 1], [0, 1]])
            case 20:
                await edit(kernel, zone, enabled=False)
                other = await draw(kernel, "other", kind="line", polygon=[[0.5, 0], [0.5, 1]])
            case 25:
                await edit(kernel, zone, enabled=True, polygon=HALF)
            case 50:
                assert (await kernel.request("DELETE", f"/api/v1/zones/{other['id']}")).status == 204
    await kernel.advance(60)
    for drawn in (zone, other):
        live = await told(kernel, zone_id=drawn["id"])
        answer = await kernel.get(f"/api/v1/zones/{drawn['id']}/why")
        said = [(event["event_type"], event["timestamp"], event["track_id"]) for event in answer["events"]]
        assert live
        assert said == [(row["event_type"], row["timestamp"], row["track_id"]) for row in live]


async def test_versions_of_a_zone_are_shown_and_outlive_it(kernel):
    zone = await draw(kernel)
    await edit(kernel, zone, name="lawn")
    await kernel.advance(5)
    path = f"/api/v1/zones/{zone['id']}"
    newest, first = await kernel.get(path + "/versions")
    assert (newest["zone"]["name"], newest["until"]) == ("lawn", None)
    assert (first["zone"]["name"], first["until"]) == ("yard", newest["from"])
    assert (await kernel.request("DELETE", path)).status == 204
    newest, _ = await kernel.get(path + "/versions?limit=2")
    assert newest["until"] is not None
    another = await draw(kernel, "another")
    assert len(await kernel.get(f"/api/v1/zones/{another['id']}/versions")) == 1, "numbers are not used again"
    assert (await kernel.request("GET", "/api/v1/zones/zone_none/versions")).status == 404


async def test_a_picture_shows_the_zone_as_it_was(kernel):
    zone = await draw(kernel, config=QUICK)
    kernel.hold_frame("gate", START_MS)
    await kernel.play(visit(), seconds=0)
    event = (await told(kernel))[0]
    before = (await kernel.request("GET", f"/api/v1/zone-events/{event['id']}/evidence?draw=true")).body
    await edit(kernel, zone, polygon=[[0.9, 0.9], [1, 0.9], [1, 1]])
    assert (await kernel.request("GET", f"/api/v1/zone-events/{event['id']}/evidence?draw=true")).body == before
    assert b"polygon" in before


FRIGATE = """
cameras:
  front:
    detect: {width: 1280, height: 720}
    objects:
      mask: 0.1,0.1,0.2,0.1,0.2,0.2
    zones:
      steps:
        coordinates: 0,360,640,360,640,720,0,720
        objects: [person, car]
        inertia: 4
        loitering_time: 10
        filters:
          person: {min_area: 9216, threshold: 0.7, min_ratio: 0.5}
        speed_threshold: 20
      lawn:
        coordinates: "0.5,0.5,1,0.5,1,1"
        objects: dog
        enabled: false
"""


async def test_zones_of_a_frigate_configuration_are_drawn(kernel):
    path = "/api/v1/cameras/gate/zones/import"
    shown = await kernel.request("POST", path, {"config": FRIGATE, "dry_run": True})
    assert (shown.status, shown.body["created"]) == (200, [])
    assert await kernel.get("/api/v1/cameras/gate/zones") == []
    drawn = (await kernel.request("POST", path, {"config": FRIGATE, "camera": "front"})).body
    zones = {zone["name"]: zone for zone in drawn["created"]}
    assert zones["steps"]["polygon"] == [[0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [0.0, 1.0]]
    assert (zones["steps"]["labels"], zones["steps"]["dwell_seconds"]) == (["person", "car"], 10.0)
    assert zones["steps"]["config"] == {
        "enter_frames": 4, "per_label": {"person": {"min_area": 0.01, "min_confidence": 0.7}},
    }  # fmt: skip
    assert (zones["lawn"]["labels"], zones["lawn"]["enabled"]) == (["dog"], False)
    assert zones["object mask 1"]["kind"] == "mask"
    assert [note.partition(":")[0] for note in drawn["notes"]] == ["steps"] * 3
    again = (await kernel.request("POST", path, {"config": FRIGATE})).body
    assert (again["created"], again["existing"]) == ([], ["steps", "lawn", "object mask 1"])


NO_CONFIGURATIONS = [
    "- a list", "cameras: 3", "a: [", "cameras: {a: {}, b: {}}", "a: &x [1]\nb: *x", {"cameras": {"a": {"zones": []}}},
    {"cameras": {"a": {"zones": {"z": {"coordinates": "1,2,3"}}}}},
    {"cameras": {"a": {"zones": {"z": {"coordinates": "10,20,30,40,50,90"}}}}},
    {"cameras": {"a": {"zones": {"z": {"coordinates": "a,b,c"}}}}},
    {"cameras": {"a": {"zones": {"z": {"coordinates": "0,0,1,0,1,1", "inertia": "many"}}}}},
]  # fmt: skip


async def test_what_is_no_frigate_configuration_is_refused(kernel):
    for config in NO_CONFIGURATIONS:
        reply = await kernel.request("POST", "/api/v1/cameras/gate/zones/import", {"config": config})
        assert (reply.status, bool(reply.body["error"])) == (400, True), config
    assert await kernel.get("/api/v1/cameras/gate/zones") == []
