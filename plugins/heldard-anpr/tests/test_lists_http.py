"""Vehicles, passes, watchlist and groups over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from heldard.testing import Kernel

from .daemon import PLATE, Make, call, car, the_event


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
