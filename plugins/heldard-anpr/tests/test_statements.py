"""Upstream's statements P-1..P-42 about what is stored and done; the engine's own (P-3..P-15) are in test_engine.py.

Where heldard differs on purpose, the docstring begins with "Changed" and gives the reason.
"""

from __future__ import annotations

from typing import Any

import pytest
from heldard_anpr.plates.formats import Formats
from heldard_anpr.plates.normal import normalise
from heldard_anpr.settings import CameraSettings, Settings, SimulatedRelay

T0 = 1_700_000_000_000
DAY = 86_400_000
PLATE = "ABC1234"
GATED = Settings(cameras={"gate": CameraSettings(actuator=SimulatedRelay())})


@pytest.mark.parametrize(("raw", "plate"), [("abc 1234", "ABC1234"), ("W-XY 88.88", "WXY8888"), ("", "")])
def test_p1_normal_form(raw: str, plate: str) -> None:
    assert normalise(raw) == plate


def test_p1_letters_of_every_script_stay() -> None:
    """Changed: upstream drops what is not ASCII, so that such plates can never be listed (X-39)."""
    assert normalise("ÄB 123é") == "ÄB123É"
    assert normalise("京A·12345") == "京A12345"
    assert normalise("\uff21\uff22\uff11 ١٢") == "AB112"


@pytest.mark.parametrize(
    ("plate", "plausible"),
    [("ABC1234", True), ("WA12B", True), ("ABCDEFGHI1", True), ("1234", False), ("ABCDE", False), ("A1", False),
     ("ABCDEFGHIJ1", False)],
)  # fmt: skip
def test_p2_plausible_plates(plate: str, plausible: bool) -> None:
    """Changed: the least length is 4, settable from 1 on (upstream 3), which no upstream example notices."""
    assert Formats().plausible(plate) is plausible


def test_p12_three_reads_make_one_event(site: Any) -> None:
    site.reads(count=2)
    assert site.rows() == []
    site.frame(0.4, site.seen())
    assert site.entry["plate"] == PLATE
    assert [event.event_type for event in site.events] == ["entry_unmatched"]


def test_p13_a_decided_visit_makes_no_second_event(site: Any) -> None:
    site.reads(count=40)
    site.tick(60)
    assert len(site.rows()) == 1


def test_p14_below_the_votes_a_visit_is_recorded_when_it_ends(site: Any) -> None:
    """Changed: it ends by itself 10 s after the last sight (upstream: 30 s, and only with the next traffic)."""
    site.reads(count=1)
    site.tick(9)
    assert site.rows() == []
    site.tick(11)
    assert site.entry["workflow_status"] == "review"
    assert site.entry["timestamp"] == T0, "the time of the read, not of the tick (X-38)"


def test_p15_a_track_without_a_plate_leaves_nothing(site: Any) -> None:
    site.frame(0, site.seen(None))
    site.tick(60)
    assert site.rows() == []
    assert site.rows("anpr_visits", "id") == []
    assert site.events == []
    assert site.state["gate"] == {}


def test_p16_below_the_votes_goes_to_review_and_never_opens(gated: Any) -> None:
    gated.vehicle()
    gated.reads(count=1)
    gated.tick(20)
    assert gated.entry["auth_status"] == "matched"
    assert gated.entry["workflow_status"] == "review"
    assert gated.entry["audit"]["evidence"]["actuated"] is False
    assert gated.actions == []
    (told,) = gated.told("gate_review_not_actuated")
    assert told.severity == "warning"
    assert told.payload | {"entry_event_id": ""} == {
        "entry_event_id": "", "plate": PLATE, "votes": 1.0, "min_votes": 3.0, "source": "worker",
        "produced_by": "apikey:key_1", "auth_status": "matched", "reason": "below_threshold",
    }  # fmt: skip


def test_p17_a_failed_write_leaves_nothing_and_is_tried_again(site: Any) -> None:
    """Changed: the claim and all effects are one unit of work, so what failed is played again whole; nothing is lost
    on a visit that has ended either (X-42)."""
    site.reads(count=2)
    site.connection.execute("ALTER TABLE entry_events RENAME TO away")
    with pytest.raises(Exception, match="entry_events"):
        site.frame(0.4, site.seen())
    site.connection.execute("ALTER TABLE away RENAME TO entry_events")
    assert site.rows() == []
    site.consumer.restore("gate", site.state["gate"])
    site.seq -= 1
    site.frame(0.4, site.seen())
    assert site.entry["plate"] == PLATE


def test_p18_the_same_plate_again_is_the_same_event(gated: Any) -> None:
    """Changed: upstream makes an event and a pulse of each track id (X-35)."""
    gated.vehicle()
    for visit in range(4):
        gated.reads(at_s=visit * 60, track=str(visit))
        gated.tick(visit * 60 + 30)
    assert len(gated.rows()) == 1
    assert len(gated.actions) == 1
    assert [row["repeats"] for row in gated.rows("anpr_visits", "started_ms")] == [0, 1, 1, 1]


def test_p18_after_the_cooldown_it_is_a_new_event(site: Any) -> None:
    site.reads()
    site.tick(30)
    site.reads(at_s=400, track="2")
    assert len(site.rows()) == 2


def test_p18_the_cooldown_is_per_camera_and_direction(site: Any) -> None:
    site.reads(direction="inbound")
    site.reads(at_s=30, track="2", direction="outbound")
    site.reads(at_s=31, track="3", camera="back", direction="inbound")
    assert len(site.rows()) == 3


def test_p18_an_exit_arms_the_entry_again(site: Any) -> None:
    site.reads(direction="inbound")
    site.tick(20)
    site.reads(at_s=60, track="2", camera="exit", direction="outbound")
    site.reads(at_s=120, track="3", direction="inbound")
    assert [row["event_type"] for row in site.rows()] == ["vehicle_entry", "vehicle_exit", "vehicle_entry"]


def status(site: Any) -> tuple[str, str, str, str | None, str | None]:
    row = site.entry
    (told,) = site.told(f"entry_{row['auth_status']}")
    found = row["authorization"]
    return row["auth_status"], row["workflow_status"], told.severity, found.get("source"), found.get("note")


def test_p19_an_unreadable_plate_is_unmatched(site: Any) -> None:
    site.reads("12345")
    assert status(site) == ("unmatched", "pending", "warning", None, "plate_unreadable")
    assert site.entry["subject"]["plate_valid"] is False


def test_p19_an_implausible_plate_that_is_listed_counts(site: Any) -> None:
    """Changed: upstream never looks implausible plates up, the block list included (X-39)."""
    site.watch("12345", severity="critical")
    site.reads("12345")
    assert status(site) == ("blocked", "pending", "critical", "watchlist", None)


def test_p20_block_goes_before_everything(site: Any) -> None:
    site.watch(reason="stolen", severity="info")
    site.vehicle()
    site.reads()
    assert status(site) == ("blocked", "pending", "info", "watchlist", "stolen")


def test_p20_an_inactive_block_entry_does_not_count(site: Any) -> None:
    site.watch(active=False)
    site.vehicle()
    site.reads()
    assert site.entry["auth_status"] == "matched"


@pytest.mark.parametrize("table", ["watchlist", "vehicles", "visitor_passes", "anpr_plate_keys"])
def test_p21_and_p31_a_list_that_cannot_be_read_is_an_exception_and_never_opens(gated: Any, table: str) -> None:
    """Changed: upstream takes an error in the vehicle, pass, vip and alert lookups for "not listed" (X-40)."""
    gated.vehicle()
    gated.connection.execute(f"ALTER TABLE {table} RENAME TO away")
    gated.reads()
    assert gated.entry["auth_status"] == "exception"
    assert gated.entry["authorization"]["source"] == "system"
    assert gated.entry["authorization"]["note"].endswith("_lookup_failed")
    assert gated.actions == []


@pytest.mark.parametrize(("begins", "ends"), [(T0 + DAY, T0 + 2 * DAY), (T0 - 2 * DAY, T0 - DAY)])
def test_p22_outside_its_validity_a_vehicle_is_an_exception(site: Any, begins: int, ends: int) -> None:
    site.connection.execute("UPDATE vehicles SET valid_from = ?, valid_until = ?", [begins, ends])
    site.vehicle()
    site.connection.execute("UPDATE vehicles SET valid_from = ?, valid_until = ?", [begins, ends])
    site.reads()
    assert status(site) == ("exception", "pending", "warning", "registered_vehicle", "outside_validity_window")


def test_p22_the_bounds_belong_to_the_window(site: Any) -> None:
    site.vehicle()
    site.connection.execute("UPDATE vehicles SET valid_from = ?, valid_until = ?", [T0 + 400, T0 + 400])
    site.reads()
    assert site.entry["auth_status"] == "matched"


@pytest.mark.parametrize(("listed", "shown"), [({"color": "red"}, {"color": "blue"}),
                                               ({"vehicle_type": "truck"}, {"vehicle_type": "car"})])  # fmt: skip
def test_p23_another_colour_or_type_is_an_exception(site: Any, listed: Any, shown: Any) -> None:
    site.vehicle(**listed)
    site.reads(**shown)
    assert status(site)[:4] == ("exception", "pending", "warning", "registered_vehicle")
    assert site.entry["authorization"]["mismatches"] == list(listed)


@pytest.mark.parametrize("shown", [{"color": "RED"}, {"color": " "}, {}, {"make": "Seat"}])
def test_p23_case_blanks_and_make_do_not_matter(site: Any, shown: Any) -> None:
    site.vehicle(color="red", make="Volvo")
    site.reads(**shown)
    assert site.entry["auth_status"] == "matched"


def test_p24_a_listed_vehicle_matches(site: Any) -> None:
    entry = site.vehicle(owner_name="Ada")
    site.reads()
    assert status(site) == ("matched", "auto", "info", "registered_vehicle", None)
    assert site.entry["authorization"]["entry_id"] == entry.id
    assert site.entry["authorization"]["person"] == "Ada"


def test_p25_a_pass_in_its_window_matches_and_is_checked_in(site: Any) -> None:
    site.visitor()
    site.reads(direction="inbound")
    assert status(site) == ("matched", "auto", "info", "visitor_pass", None)
    (row,) = site.rows("visitor_passes", "id")
    assert (row["status"], row["checked_in_at"]) == ("checked_in", T0 + 400)


def test_p25_the_pass_that_ends_last_goes_first(site: Any) -> None:
    site.visitor(ends=T0 + DAY)
    later = site.visitor(ends=T0 + 2 * DAY)
    site.reads()
    assert site.entry["authorization"]["entry_id"] == later.id


def test_p25_leaving_checks_the_pass_out_and_coming_back_in_again(site: Any) -> None:
    """Changed: upstream never checks out by itself (X-41)."""
    site.visitor()
    site.reads(direction="inbound")
    site.reads(at_s=60, track="2", direction="outbound")
    (row,) = site.rows("visitor_passes", "id")
    assert row["status"] == "checked_out"
    site.reads(at_s=120, track="3", direction="inbound")
    (row,) = site.rows("visitor_passes", "id")
    assert row["status"] == "checked_in"
    assert [event["auth_status"] for event in site.rows()] == ["matched"] * 3


def test_p26_a_pass_outside_its_window_is_an_exception(site: Any) -> None:
    site.visitor(begins=T0 - 2 * DAY, ends=T0 - DAY)
    site.reads()
    assert status(site) == ("exception", "pending", "warning", "visitor_pass", "pass_outside_validity_window")


@pytest.mark.parametrize("state", ["checked_out", "expired", "revoked"])
def test_p26_a_pass_that_is_over_does_not_count(site: Any, state: str) -> None:
    site.visitor()
    site.connection.execute("UPDATE visitor_passes SET status = ?", [state])
    site.reads()
    assert site.entry["auth_status"] == "unmatched"


def test_p27_a_vip_matches(site: Any) -> None:
    site.watch(kind="vip")
    site.reads()
    assert status(site) == ("matched", "auto", "info", "watchlist", None)


def test_p28_an_alert_is_an_exception(site: Any) -> None:
    site.watch(kind="alert", reason="owes a parcel")
    site.reads()
    assert status(site) == ("exception", "pending", "warning", "watchlist", "owes a parcel")


def test_p29_what_is_on_no_list_is_unmatched(site: Any) -> None:
    site.reads()
    assert status(site) == ("unmatched", "pending", "warning", None, None)


@pytest.mark.parametrize("kind", ["vehicle", "visitor"])
def test_p30_what_would_match_is_an_exception_when_on_alert(gated: Any, kind: str) -> None:
    getattr(gated, kind)()
    gated.watch(kind="alert")
    gated.reads()
    assert gated.entry["auth_status"] == "exception"
    assert gated.entry["workflow_status"] == "pending"
    assert gated.entry["authorization"]["alert"] is True
    assert gated.actions == []


def test_p32_the_pass_moves_with_the_event_or_not_at_all(site: Any) -> None:
    """Changed: upstream checks in before the event is stored, and for visits that may not open."""
    site.visitor()
    site.reads(count=1)
    site.tick(20)
    (row,) = site.rows("visitor_passes", "id")
    assert row["status"] == "active"
    site.connection.execute("ALTER TABLE anpr_decisions RENAME TO away")
    with pytest.raises(Exception, match="anpr_decisions"):
        site.reads(at_s=400, track="2")
    (row,) = site.rows("visitor_passes", "id")
    assert row["status"] == "active"


def test_p33_event_type_and_time(site: Any) -> None:
    """Changed: the time is that of the last read that counted, not of the commit."""
    site.reads()
    site.reads("XYZ9876", at_s=5, track="2", direction="outbound")
    first, second = site.rows()
    assert (first["event_type"], first["timestamp"]) == ("vehicle_entry", T0 + 400)
    assert (second["event_type"], second["timestamp"]) == ("vehicle_exit", T0 + 5400)


def test_p34_the_event_says_what_was_seen_and_who_said_so(site: Any) -> None:
    site.reads("abc-1234", color="red", make="Seat", model="Ibiza", model_versions={"anpr": "2"})
    row = site.entry
    assert row["plate"] == PLATE
    assert row["subject"] == {
        "type": "vehicle", "plate": "abc-1234", "plate_confidence": 0.95, "plate_valid": True, "vehicle_type": "car",
        "color": "red", "make_model": "Seat Ibiza",
    }  # fmt: skip
    assert row["audit"]["created_by"] == "apikey:key_1"
    assert row["audit"]["model_versions"] == {"anpr": "2"}
    found = row["audit"]["evidence"]
    assert (found["votes"], found["min_votes"], found["source"], found["actuated"]) == (3.0, 3.0, "worker", False)


def test_p34_the_audit_names_the_cameras_own_reader(gated: Any) -> None:
    gated.vehicle()
    gated.frame(0, gated.seen(), native=True)
    audit = gated.entry["audit"]
    assert audit["created_by"] == "kernel:native_anpr"
    assert audit["evidence"]["votes"] == 3
    assert audit["evidence"]["source"] == "camera_native"
    assert audit["evidence"]["actuated"] is True


def test_p35_evidence_is_the_frame_that_was_read(site: Any) -> None:
    """Changed: upstream copies whatever the camera shows when it commits (X-28)."""
    site.frame(0, site.seen(confidence=0.91))
    site.frame(0.2, site.seen(confidence=0.99))
    site.frame(0.4, site.seen(confidence=0.92))
    evidence = site.entry["evidence"]
    assert evidence["snapshot_path"] == f"snapshots/gate-main-{T0 + 200}.jpg"
    assert evidence["captured_ms"] == T0 + 200
    assert evidence["plate_box"] == [0.3, 0.4, 0.1, 0.05]
    (told,) = site.told("entry_unmatched")
    assert told.evidence == f"gate-main-{T0 + 200}.jpg"


def test_p36_an_event_of_the_status_follows(site: Any) -> None:
    site.vehicle()
    site.reads()
    (told,) = site.events
    assert told.event_type == "entry_matched"
    assert told.camera_id == "gate"
    assert told.payload["entry_event_id"] == site.entry["id"]
    assert {"plate", "auth_status", "source", "event_type", "evidence"} <= set(told.payload)


@pytest.mark.parametrize("producer", ["kernel:native_anpr", "apikey:key_7"])
def test_p37_producer_label(site: Any, producer: str) -> None:
    for at in range(3):
        site.frame(at * 0.2, site.seen(), producer=producer)
    assert site.entry["audit"]["created_by"] == producer


def test_p38_a_match_opens_once(gated: Any) -> None:
    gated.vehicle()
    gated.reads(count=10)
    gated.tick(60)
    (action,) = gated.actions
    assert action["kind"] == "gate_open"
    assert action["expires_ms"] == T0 + 400 + 10_000
    assert action["payload"] | {"event_id": "", "key": ""} == {
        "event_id": "", "key": "", "camera_id": "gate", "plate": PLATE, "port": 1, "pulse_ms": 1000, "mode": "auto",
    }  # fmt: skip


@pytest.mark.parametrize("status", ["unmatched", "exception", "blocked"])
def test_p38_only_a_match_opens(gated: Any, status: str) -> None:
    if status == "exception":
        gated.watch(kind="alert")
    if status == "blocked":
        gated.watch()
    gated.reads()
    assert gated.entry["auth_status"] == status
    assert gated.actions == []


@pytest.mark.parametrize("why", ["no policy", "policy off", "kill switch", "no actuator"])
def test_p38_without_policy_or_with_the_kill_switch_nothing_opens(make_site: Any, why: str) -> None:
    site = make_site(None if why == "no actuator" else GATED)
    if why != "no policy":
        site.gate(enabled=int(why != "policy off"))
    if why == "kill switch":
        site.connection.execute("UPDATE gate_settings SET kill_switch = 1")
    site.vehicle()
    site.reads()
    assert site.entry["auth_status"] == "matched"
    assert site.actions == []
    assert site.told("gate_review_not_actuated") == []


def test_p38_the_other_direction_does_not_open(gated: Any) -> None:
    """Changed: upstream pulses for an outbound match too (X-43); a policy may allow it."""
    gated.vehicle()
    gated.reads(direction="outbound")
    assert gated.actions == []
    assert gated.told("gate_review_not_actuated")[0].payload["reason"] == "direction_not_allowed"


def test_p38_an_outbound_gate_may_be_allowed(make_site: Any) -> None:
    site = make_site(GATED)
    site.gate(directions='["outbound"]')
    site.vehicle()
    site.reads(direction="outbound")
    assert len(site.actions) == 1


@pytest.mark.parametrize("allowed", [False, True])
def test_p38_vip_alone_opens_only_where_the_policy_says_so(make_site: Any, allowed: bool) -> None:
    """Changed: upstream's VIP list alone opens the barrier (X-43)."""
    site = make_site(GATED)
    site.gate(allow_vip=int(allowed))
    site.watch(kind="vip")
    site.reads()
    assert len(site.actions) == int(allowed)


def test_p38_openings_are_limited_by_the_minute(make_site: Any) -> None:
    """Changed: upstream has no limit (X-43)."""
    site = make_site(GATED)
    site.gate(per_minute=2)
    for number in range(4):
        site.vehicle(f"ABC123{number * 2}")
        site.reads(f"ABC123{number * 2}", at_s=number * 3, track=str(number))
    assert len(site.actions) == 2
    assert {event.payload["reason"] for event in site.told("gate_review_not_actuated")} == {"rate_limited"}
    site.vehicle("QRS555")
    site.reads("QRS555", at_s=90, track="9")
    assert len(site.actions) == 3


@pytest.mark.parametrize("moment", range(1, 9))
@pytest.mark.parametrize("lost", [False, True])
def test_p42_a_crash_at_any_moment_of_a_visit_makes_one_event_and_one_opening(
    gated: Any, moment: int, lost: bool
) -> None:
    """Changed: upstream loses votes, tracks and commit flags on restart. `lost`: the crash came before the commit, so
    the batch is played again; else after it."""
    gated.vehicle()
    for number in range(8):
        if number + 1 == moment and lost:
            gated.keep_commits = False
            gated.frame(number * 0.2, gated.seen())
            gated.keep_commits = True
            gated.seq -= 1
            gated.restart()
        gated.frame(number * 0.2, gated.seen())
        if number + 1 == moment and not lost:
            gated.restart()
    gated.tick(5)
    gated.restart()
    gated.tick(30)
    assert len(gated.rows()) == 1
    assert len(gated.actions) == 1
    assert len(gated.told("entry_matched")) == 1
