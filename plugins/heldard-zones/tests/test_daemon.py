"""The plugin in the real daemon: the calls of the contract, crashes, evidence and occupancy."""

from __future__ import annotations

import sqlite3

import pytest

from heldard.testing import START_MS, Scene

from .daemon import HALF, QUICK, draw, told, visit

# --- the contract ---------------------------------------------------------------------------------------------------


async def test_3_3_a_zone_has_upstreams_fields_and_defaults(kernel):
    zone = await draw(kernel)
    assert zone.pop("id").startswith("zone_")
    assert zone.pop("created_at") == zone.pop("updated_at") == "2026-01-01T12:00:00Z"
    assert zone == {
        "camera_id": "gate", "name": "yard", "kind": "region", "polygon": HALF, "dwell_seconds": 0.0, "labels": [],
        "severity": "info", "config": {}, "enabled": True,
    }  # fmt: skip


async def test_3_3_a_second_zone_of_the_name_is_the_first(kernel):
    first = await draw(kernel)
    assert await draw(kernel, status=200, polygon=[[0, 0], [1, 0], [1, 1]]) == first
    assert await kernel.get("/api/v1/cameras/gate/zones") == [first]


async def test_x46_two_at_once_make_one_zone(kernel):
    import asyncio

    body = {"name": "yard", "polygon": HALF}
    replies = await asyncio.gather(
        *(kernel.request("POST", "/api/v1/cameras/gate/zones", body) for _ in range(8))
    )  # fmt: skip
    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    assert len({reply.body["id"] for reply in replies}) == 1


NO_ZONES = [
    ({"name": " "}, 400),
    ({"kind": "restricted"}, 400),
    ({"name": "n" * 201}, 400),
    ({"labels": ["person"] * 201}, 400),
    ({"config": {"note": "x" * 70_000}}, 400),
    ({"kind": 3}, 422),
    ({"polygon": [[0, 0], [1, 1]]}, 400),
    ({"polygon": [[0, 0], [1, 0], [1, 1.01]]}, 400),
    ({"polygon": [[0, 0], [1, 0], [1, 1, 1]]}, 400),
    ({"polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}, 400),
    ({"polygon": [[0, 0], [0.5, 0], [1, 0]]}, 400),
    ({"polygon": [[0.5, 0.5]] * 513}, 400),
    ({"polygon": "square"}, 422),
    ({"kind": "line", "polygon": [[0.5, 0.5]]}, 400),
    ({"kind": "line", "polygon": [[0.5, 0.5], [0.5, 0.5]]}, 400),
    ({"labels": [" "]}, 400),
    ({"dwell_seconds": 1e308}, 400),
    ({"labels": [3]}, 422),
    ({"severity": "high"}, 400),
    ({"config": {"anchor": "nose"}}, 400),
    ({"config": {"margin": 0.5}}, 400),
    ({"config": {"enter_frames": 2.5}}, 400),
    ({"config": {"min_area": 0.5, "max_area": 0.1}}, 400),
    ({"config": {"schedule": [{"from": "25:00"}]}}, 400),
    ({"config": {"schedule": [{}], "timezone": "Mars/Base"}}, 400),
    ({"config": {"masks": [[[0, 0], [1, 1]]]}}, 400),
]


async def test_3_3_what_makes_no_zone_is_refused_with_a_reason(kernel):
    for fields, status in NO_ZONES:
        body = {"name": "yard", "polygon": HALF, **fields}
        reply = await kernel.request("POST", "/api/v1/cameras/gate/zones", body)
        assert reply.status == status, (fields, reply.body)
        assert reply.body["error"]
    assert await kernel.get("/api/v1/cameras/gate/zones") == []


async def test_3_3_config_is_any_json_and_upstreams_keys_forgive(kernel):
    given = [None, [], "text", 5, {"min_confidence": "high", "confirm_frames": -1, "zzz": 1}]
    for number, config in enumerate(given):
        zone = await draw(kernel, f"zone {number}", config=config)
        assert zone.get("hints", []) == (["config.zzz does nothing"] if isinstance(config, dict) else [])
        assert zone["config"] == ({} if config is None else config)


async def test_a_config_key_that_is_misspelt_is_pointed_out(kernel):
    zone = await draw(kernel, config={"confirm_frame": 3, "colour": "red", "margin": 0.01, "min_confidence": 0.3})
    assert zone["hints"] == [
        "config.confirm_frame does nothing; did you mean confirm_frames?", "config.colour does nothing",
    ]  # fmt: skip


async def test_odd_times_and_cursors_are_no_failure_of_ours(kernel):
    zone = await draw(kernel)
    times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "1969-01-01T00:00:00Z", "", "x"]
    paths = ["zone-events", "zone-events/aggregates", "zones/counts", f"zones/occupancy/history?zone_id={zone['id']}"]
    for path in [*(f"/api/v1/cameras/gate/{path}" for path in paths), f"/api/v1/zones/{zone['id']}/why"]:
        for start in times:
            for end in times:
                joint = "&" if "?" in path else "?"
                reply = await kernel.request("GET", f"{path}{joint}from={start}&to={end}")
                assert reply.status in (200, 400), (path, start, end, reply.body)
    for cursor in ("1", "1.2.3", f"{'9' * 30}.1", "-1.1", "1.x"):
        assert (await kernel.request("GET", f"/api/v1/cameras/gate/zone-events?cursor={cursor}")).status == 400


async def test_3_3_unknown_cameras_and_zones_are_404(kernel):
    assert (await kernel.request("GET", "/api/v1/cameras/none/zones")).status == 404
    assert (await kernel.request("POST", "/api/v1/cameras/none/zones", {"name": "a", "polygon": HALF})).status == 404
    assert (await kernel.request("PATCH", "/api/v1/zones/zone_1", {})).status == 404
    assert (await kernel.request("DELETE", "/api/v1/zones/zone_1")).status == 404
    assert (await kernel.request("GET", "/api/v1/zone-events/zev_1/evidence")).status == 404
    assert (await kernel.request("GET", "/api/v1/cameras/none/zone-events")).status == 404


async def test_3_3_a_patch_is_partial_and_checks_the_shape_that_results(kernel):
    zone = await draw(kernel, dwell_seconds=5)
    await kernel.advance(1)
    patched = await kernel.request("PATCH", f"/api/v1/zones/{zone['id']}", {"dwell_seconds": -3, "name": None})
    assert patched.body == {**zone, "dwell_seconds": 0.0, "updated_at": "2026-01-01T12:00:01Z"}
    line = await draw(kernel, "line", kind="line", polygon=[[0, 0], [1, 1]])
    refused = await kernel.request("PATCH", f"/api/v1/zones/{line['id']}", {"kind": "region"})
    assert refused.status == 400
    taken = await kernel.request("PATCH", f"/api/v1/zones/{line['id']}", {"name": "yard"})
    assert (taken.status, taken.body["code"]) == (409, "zone_name_taken")


async def test_a_camera_has_a_bounded_number_of_zones(heldard_kernel):
    async with heldard_kernel("zones", settings={"plugins": {"zones": {"max_zones_per_camera": 2}}}) as kernel:
        await kernel.add_camera("gate")
        await draw(kernel, "a")
        await draw(kernel, "b")
        assert (await draw(kernel, "c", status=409))["code"] == "too_many_zones"


async def test_z27_an_event_has_its_row_and_its_generic_event(kernel):
    zone = await draw(kernel, severity="warning", config=QUICK)
    await kernel.play(visit())
    row = (await told(kernel))[0]
    assert row["id"].startswith("zev_")
    assert {key: row[key] for key in ("zone_id", "zone_name", "track_id", "event_type", "label", "segment_id")} == {
        "zone_id": zone["id"], "zone_name": "yard", "track_id": "1", "event_type": "enter", "label": "person",
        "segment_id": None,
    }  # fmt: skip
    assert row["timestamp"] == "2026-01-01T12:00:00Z"
    generic = (await kernel.events("zone_enter"))[0]
    assert generic["severity"] == "warning"
    payload = generic["payload"]
    assert {key: payload[key] for key in ("zone_id", "zone", "track_id", "label", "dwell_seconds", "evidence")} == {
        "zone_id": zone["id"], "zone": "yard", "track_id": "1", "label": "person", "dwell_seconds": None,
        "evidence": None,
    }  # fmt: skip


async def test_z13_an_exit_belongs_to_the_camera_of_its_track(kernel):
    """Upstream gives it to whichever camera's batch is being processed."""
    await kernel.add_camera("yard")
    await draw(kernel, config=QUICK)
    await draw(kernel, camera="yard", config=QUICK)
    await kernel.play(visit(), seconds=2)
    other = Scene("yard")
    other.person("1").enter(0, at=(0.3, 0.5)).stand(20)
    await kernel.play(other)
    exits = await kernel.events("zone_exit")
    assert [(event["camera_id"], event["payload"]["reason"]) for event in exits] == [("gate", "lost")]


async def test_z28_the_evidence_is_the_analysed_frame(kernel):
    """Upstream copies the newest picture of the sub stream when the event is written (X-28)."""
    await draw(kernel, config=QUICK)
    kernel.hold_frame("gate", START_MS)
    kernel.hold_frame("gate", START_MS + 999)
    await kernel.play(visit(), seconds=0)
    row = (await told(kernel))[0]
    assert row["evidence_path"] == f"/media/snapshots/gate-sub-{START_MS}.jpg"
    plain = await kernel.request("GET", f"/api/v1/zone-events/{row['id']}/evidence")
    assert (plain.status, plain.headers["content-type"]) == (200, "image/jpeg")
    drawn = await kernel.request("GET", f"/api/v1/zone-events/{row['id']}/evidence?draw=true")
    assert drawn.headers["content-type"].startswith("image/svg+xml")
    assert b"<polygon" in drawn.body
    assert b"<rect" in drawn.body


async def test_3_3_events_are_listed_newest_first_filtered_and_paged(kernel):
    zone = await draw(kernel, config=QUICK)
    await kernel.play(visit())
    path = "/api/v1/cameras/gate/zone-events"
    both = await kernel.get(path)
    assert [row["event_type"] for row in both] == ["exit", "enter"]
    assert [r["event_type"] for r in await kernel.get(f"{path}?event_type=exit")] == ["exit"]
    assert await kernel.get(f"{path}?track_id=2") == []
    assert len(await kernel.get(f"{path}?zone_id={zone['id']}&limit=0")) == 1
    assert await kernel.get(f"{path}?from=2026-01-01T13:00:00Z") == []
    assert (await kernel.request("GET", f"{path}?from=yesterday")).status == 400
    assert (await kernel.request("GET", f"{path}?limit=abc")).status == 400
    first = await kernel.request("GET", f"{path}?limit=1")
    second = await kernel.request("GET", f"{path}?limit=1&cursor={first.headers['X-Next-Cursor']}")
    assert [*first.body, *second.body] == both
    assert (await kernel.request("GET", f"{path}?cursor=x")).status == 400


async def test_3_3_aggregates_and_occupancy(kernel):
    zone = await draw(kernel, config=QUICK)
    assert await kernel.get("/api/v1/cameras/gate/zones/occupancy") == {"zones": []}
    await kernel.play(visit(), seconds=2)
    inside = await kernel.get("/api/v1/cameras/gate/zones/occupancy")
    assert inside == {
        "zones": [
            {"zone_id": zone["id"], "count": 1, "updated_at": "2026-01-01T12:00:00+00:00", "static_count": 0}
        ]
    }  # fmt: skip
    stays = (await kernel.get("/api/v1/cameras/gate/zones/stays"))["stays"]
    assert [(stay["track_id"], stay["state"]) for stay in stays] == [("1", "inside")]
    aggregates = await kernel.get("/api/v1/cameras/gate/zone-events/aggregates?bucket_minutes=5")
    assert aggregates["bucket_minutes"] == 5
    assert aggregates["buckets"] == [
        {"zone_id": zone["id"], "zone_name": "yard", "event_type": "enter",
         "bucket_start": "2026-01-01T12:00:00+00:00", "count": 1}
    ]  # fmt: skip


async def test_occupancy_has_a_history(kernel):
    zone = await draw(kernel, config=QUICK)
    await kernel.play(visit())
    await kernel.advance(3)
    path = f"/api/v1/cameras/gate/zones/occupancy/history?zone_id={zone['id']}"
    history = await kernel.get(f"{path}&from=2026-01-01T11:59:00Z&to=2026-01-01T12:01:00Z")
    assert [(point["at"], point["count"]) for point in history["points"]] == [
        ("2026-01-01T12:00:00Z", 1), ("2026-01-01T12:00:04.600Z", 0),
    ]  # fmt: skip
    assert (history["peak"], history["busy_seconds"], history["mean"]) == (1, 4.6, round(4.6 / 120, 4))
    later = await kernel.get(f"{path}&from=2026-01-01T12:00:02Z&to=2026-01-01T12:00:04Z")
    assert later["busy_seconds"] == 2.0


async def test_lines_are_counted_by_direction_and_refusals_by_gate(kernel):
    await draw(kernel, "line", kind="line", polygon=[[0.5, 0], [0.5, 1]])
    await draw(kernel, "cars", labels=["car"])
    await kernel.play(visit())
    await kernel.advance(90)
    counts = {zone["zone_name"]: zone for zone in (await kernel.get("/api/v1/cameras/gate/zones/counts"))["zones"]}
    assert counts["line"]["events"] == {"cross_ab": 1}
    assert counts["line"]["net_ab"] == 1
    assert counts["line"]["by_label"] == {"person": {"cross_ab": 1}}
    assert counts["cars"]["refused"]["label"] > 20


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def scoped(kernel):
    """A key that may manage zones of camera `yard` only."""
    await kernel.add_camera("yard")
    body = {
        "name": "yard only", "capabilities": ["registry:manage"], "scope_kind": "cameras",
        "scope_cameras": ["yard"], "confirm_privileged": True,
    }  # fmt: skip
    reply = await kernel.request("POST", "/api/v1/api-keys", body)
    assert reply.status == 201, reply.body
    return {"X-API-Key": reply.body["key"]}


async def test_a_scoped_key_cannot_distinguish_another_cameras_zone_from_a_missing_one(kernel, scoped):
    zone = await draw(kernel)
    answers = set()
    for zone_id in (zone["id"], "zone_00000000000000000000000000000000"):
        for method, path, body in [
            ("PATCH", f"/api/v1/zones/{zone_id}", {"enabled": False}),
            ("DELETE", f"/api/v1/zones/{zone_id}", None),
        ]:
            reply = await kernel.request(method, path, body, **scoped)
            answers.add((reply.status, str(reply.body)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 403


async def test_a_scoped_key_draws_on_its_own_camera_only(kernel, scoped):
    for camera in ("gate", "none"):
        for path in ("zones", "zones/import"):
            body = {"name": "a", "polygon": HALF, "config": {"cameras": {"a": {}}}}
            reply = await kernel.request("POST", f"/api/v1/cameras/{camera}/{path}", body, **scoped)
            assert reply.status == 403


async def test_a_scoped_key_edits_its_own_zone(kernel, scoped):
    made = await kernel.request("POST", "/api/v1/cameras/yard/zones", {"name": "a", "polygon": HALF}, **scoped)
    assert made.status == 201
    path = f"/api/v1/zones/{made.body['id']}"
    assert (await kernel.request("PATCH", path, {"enabled": False}, **scoped)).status == 200
    assert (await kernel.request("DELETE", path, **scoped)).status == 204


# --- crashes and edits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed_after", [0.2, 1.0, 4.4, 4.8, 6.0])
async def test_a_kill_in_the_middle_of_a_visit_leaves_one_enter_one_exit_and_the_right_dwell(kernel, killed_after):
    await draw(kernel, dwell_seconds=2, config={"confirm_frames": 3})
    scene, began = visit(), kernel.clock.now_ms()
    task = await kernel.add_task("gate")
    for shot in scene.shots():
        at = began + round(shot.second * 1000)
        await kernel.advance_to(at)
        body = {"camera_id": "gate", "task_type": "detection", "frame_id": f"{task}:{at}", "epoch": "e"}
        await kernel.post({**body, "detections": list(shot.detections)})
        if shot.second == pytest.approx(killed_after):
            await kernel.crash()
            await kernel.start()
    await kernel.advance(30)
    assert [(row["event_type"], row["timestamp"][17:], row["dwell_seconds"]) for row in await told(kernel)] == [
        ("enter", "00.400Z", None), ("dwell", "02.400Z", 2.0), ("exit", "05Z", 4.2),
    ]  # fmt: skip
    assert (await kernel.get("/api/v1/cameras/gate/zones/occupancy"))["zones"][0]["count"] == 0


@pytest.mark.parametrize("step", range(1, 16, 2))
async def test_a_crash_at_any_write_leaves_each_event_once(heldard_kernel, step):
    async with heldard_kernel("zones") as kernel:
        await kernel.add_camera("gate")
        await draw(kernel, config=QUICK)
        task = await kernel.add_task("gate")
        body = {"camera_id": "gate", "task_type": "detection", "frame_id": f"{task}:{START_MS}", "epoch": "e"}
        body["detections"] = [{"label": "person", "confidence": 0.9, "bbox": [0.1, 0.1, 0.1, 0.1], "track_id": "1"}]
        kernel.crash_plan.crash_at(step)
        await kernel.post(body)
        await kernel.settle()
        await kernel.crash()
        await kernel.start()
        await kernel.drain()
        await kernel.post(body)
        await kernel.drain()
        assert [row["event_type"] for row in await told(kernel)] == ["enter"]
        assert len(await kernel.events("zone_enter")) == 1
        assert (await kernel.get("/api/v1/cameras/gate/zones/occupancy"))["zones"][0]["count"] == 1


async def test_deleting_and_disabling_a_zone_closes_its_stays(kernel):
    one, two = await draw(kernel, "one", config=QUICK), await draw(kernel, "two", config=QUICK)
    await kernel.play(visit(), seconds=2)
    assert (await kernel.request("DELETE", f"/api/v1/zones/{one['id']}")).status == 204
    assert (await kernel.request("PATCH", f"/api/v1/zones/{two['id']}", {"enabled": False})).status == 200
    assert [(row["event_type"], row["zone_name"], row["reason"]) for row in await told(kernel)][2:] == [
        ("exit", "one", "zone_removed"), ("exit", "two", "zone_removed"),
    ]  # fmt: skip
    assert await kernel.get("/api/v1/cameras/gate/zones/occupancy") == {"zones": []}


async def test_a_deleted_camera_takes_its_zones_along(kernel):
    await draw(kernel, config=QUICK)
    await kernel.play(visit(), seconds=2)
    assert (await kernel.request("DELETE", "/api/v1/cameras/gate")).status == 204
    await kernel.settle()
    for table in ("zones", "zone_events", "zone_occupancy", "zone_occupancy_log"):
        assert await kernel.rows(f"SELECT * FROM {table}") == []


async def test_zones_of_a_camera_that_went_unnoticed_are_removed_at_the_next_start(kernel):
    await draw(kernel)
    await kernel.add_camera("other")
    await draw(kernel, camera="other")
    await kernel.stop()
    with sqlite3.connect(kernel.data_dir / "heldard.db") as database:
        database.execute("DELETE FROM cameras WHERE id = 'gate'")
    database.close()
    await kernel.start()
    assert [row["camera_id"] for row in await kernel.rows("SELECT camera_id FROM zones")] == ["other"]


async def test_a_mask_has_no_events_to_ask_for(kernel):
    mask = await draw(kernel, kind="mask")
    assert (await kernel.request("GET", f"/api/v1/zones/{mask['id']}/why")).body["code"] == "mask_has_no_events"
    body = {"from": "2026-01-01T12:00:00Z", "to": "2026-01-01T12:01:00Z", "zone_id": mask["id"]}
    reply = await kernel.request("POST", "/api/v1/cameras/gate/zones/backtest", body)
    assert (reply.status, reply.body["code"]) == (400, "mask_has_no_events")


async def test_old_rows_are_pruned(kernel):
    await draw(kernel, config=QUICK)
    await kernel.play(visit())
    assert len(await told(kernel)) == 2
    kernel.clock.set_wall(kernel.clock.now_ms() + 31 * 86_400_000)
    await kernel.restart()
    assert await told(kernel) == []
    assert await kernel.rows("SELECT * FROM zone_occupancy_log") == []
