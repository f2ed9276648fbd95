"""Two levels of matching: near plates are a notice, only the strict ones open."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from heldard_anpr.registry.model import Window
from heldard_anpr.registry.resolve import scheduled
from heldard_anpr.settings import CameraSettings, Settings, SimulatedRelay

CAMERAS = {"gate": CameraSettings(actuator=SimulatedRelay())}
MONDAY_NOON = 1_767_614_400_000 + 0  # 2026-01-05T12:00:00Z
HOUR = 3_600_000


def settings(**more: Any) -> Settings:
    return Settings(cameras=CAMERAS, **more)


def make_gated(make_site: Any, **more: Any) -> Any:
    site = make_site(settings(**more))
    site.gate()
    return site


def test_a_plate_one_confusion_from_a_listed_one_is_a_notice_and_stays_outside(make_site: Any) -> None:
    site = make_gated(make_site)
    entry = site.vehicle("ABC1234", owner_name="Ada")
    site.reads("A8C1234")
    found = site.entry
    assert (found["auth_status"], found["workflow_status"]) == ("exception", "review")
    assert found["authorization"]["note"] == "near_match"
    assert found["authorization"]["entry_id"] == entry.id
    (change,) = found["authorization"]["substitutions"]
    assert (change["position"], change["read"], change["listed"]) == (1, "8", "B")
    assert site.actions == []


def test_a_plate_that_differs_by_another_character_is_nobodys(make_site: Any) -> None:
    site = make_gated(make_site)
    site.vehicle("ABC1234")
    site.reads("ABC1239")
    assert site.entry["auth_status"] == "unmatched"


def test_two_entries_within_reach_are_never_guessed(make_site: Any) -> None:
    site = make_gated(make_site, open_reach="sole_confusion")
    site.vehicle("ABC1230")
    site.vehicle("ABC123D")
    site.reads("ABC123O")
    assert site.entry["authorization"]["note"] == "ambiguous_match"
    assert site.entry["workflow_status"] == "review"
    assert site.actions == []


def test_the_sole_entry_one_confusion_away_opens_where_the_site_says_so(make_site: Any) -> None:
    site = make_gated(make_site, open_reach="sole_confusion")
    site.vehicle("ABC1234")
    site.reads("A8C1234")
    assert site.entry["auth_status"] == "matched"
    assert site.entry["authorization"]["substitutions"][0]["listed"] == "B"
    assert len(site.actions) == 1


@pytest.mark.parametrize(("twins", "opens"), [("refuse", False), ("exact_wins", True)])
def test_an_exact_match_beside_a_listed_twin(make_site: Any, twins: str, opens: bool) -> None:
    site = make_gated(make_site, twins=twins)
    site.vehicle("ABC1234")
    site.vehicle("A8C1234")
    site.reads("ABC1234")
    assert site.entry["auth_status"] == "matched"
    assert site.entry["workflow_status"] == ("auto" if opens else "review")
    assert len(site.actions) == int(opens)
    assert [event.payload["reason"] for event in site.told("gate_review_not_actuated")] == ["ambiguous"] * (not opens)


@pytest.mark.parametrize("kind", ["block", "alert"])
def test_a_match_near_a_blocked_plate_stays_outside_whatever_the_site_says(make_site: Any, kind: str) -> None:
    site = make_gated(make_site, twins="exact_wins")
    site.vehicle("ABC1234")
    site.watch("A8C1234", kind)
    site.reads("ABC1234")
    assert site.entry["authorization"]["note"] == "near_blocklist"
    assert site.actions == []


def test_a_plate_near_to_a_blocked_one_is_told(make_site: Any) -> None:
    site = make_gated(make_site)
    site.watch("ABC1234")
    site.reads("A8C1234")
    assert (site.entry["auth_status"], site.entry["authorization"]["note"]) == ("exception", "near_blocklist")


def test_entries_that_do_not_count_are_not_near(make_site: Any) -> None:
    site = make_gated(make_site)
    site.vehicle("ABC1234", active=False)
    site.visitor("ABC1234")
    site.connection.execute("UPDATE visitor_passes SET status = 'revoked'")
    site.reads("A8C1234")
    assert site.entry["auth_status"] == "unmatched"


def test_reads_that_are_not_sure_enough_match_but_do_not_open(make_site: Any) -> None:
    site = make_gated(make_site)
    site.vehicle()
    for at in range(8):
        site.frame(at * 0.2, site.seen(confidence=0.7))
    assert site.entry["auth_status"] == "matched"
    assert site.entry["workflow_status"] == "review"
    assert site.actions == []
    assert site.told("gate_review_not_actuated")[0].payload["reason"] == "not_strict"


def test_better_reads_of_the_same_visit_open_after_all_and_only_once(make_site: Any) -> None:
    site = make_gated(make_site)
    site.vehicle()
    for at in range(8):
        site.frame(at * 0.2, site.seen(confidence=0.7))
    for at in range(40):
        site.frame(2 + at * 0.2, site.seen(confidence=0.99))
    assert len(site.rows()) == 1
    assert len(site.actions) == 1
    assert len(site.told("entry_amended")) == 1
    records = [row["record"] for row in site.rows("anpr_decisions", "number")]
    assert [record["gate"] for record in records] == ["not_strict", "open"]


def test_an_amendment_says_what_was_before_and_moves_the_stay(make_site: Any) -> None:
    site = make_gated(make_site)
    site.vehicle("ABC1234")
    for at in range(3):
        site.frame(at * 0.2, site.seen("QBC1234", confidence=0.62, direction="inbound"))
    site.tick(3)
    for at in range(6):
        site.frame(3.2 + at * 0.2, site.seen("ABC1234", confidence=0.98, direction="inbound"))
    assert site.entry["plate"] == "ABC1234"
    assert site.entry["auth_status"] == "matched"
    (told,) = site.told("entry_amended")
    assert (told.payload["plate_before"], told.payload["plate"]) == ("QBC1234", "ABC1234")
    assert [event.event_type for event in site.told("entry_unmatched", "entry_matched", "entry_exception")] == [
        "entry_unmatched", "entry_matched"]  # fmt: skip
    assert [(row["plate"], row["state"]) for row in site.rows("anpr_stays", "id")] == [("ABC1234", "inside")]


def test_a_reviewers_word_is_not_amended(make_site: Any) -> None:
    site = make_gated(make_site)
    for at in range(3):
        site.frame(at * 0.2, site.seen("QBC1234", confidence=0.62))
    site.tick(3)
    site.connection.execute("UPDATE entry_events SET workflow_status = 'confirmed'")
    for at in range(6):
        site.frame(3.2 + at * 0.2, site.seen("ABC1234", confidence=0.98))
    assert site.entry["plate"] == "QBC1234"
    assert site.rows("anpr_decisions", "number")[-1]["record"]["done"] == "a reviewer's word stands"


@pytest.mark.parametrize(
    ("window", "hours_from_noon", "inside"),
    [
        ({"begins": "08:00", "ends": "18:00"}, 0, True),
        ({"begins": "08:00", "ends": "18:00"}, 6, False),
        ({"begins": "08:00", "ends": "18:00", "days": [2]}, 0, False),
        ({"days": [1]}, 11, True),
        ({"begins": "22:00", "ends": "06:00"}, 11, True),
        ({"begins": "22:00", "ends": "06:00", "days": [1]}, 14, True),
        ({"begins": "22:00", "ends": "06:00", "days": [2]}, 14, False),
        ({"begins": "22:00", "ends": "06:00"}, 0, False),
    ],
)
def test_schedules(window: Any, hours_from_noon: int, inside: bool) -> None:
    """Monday, 12:00 UTC and so many hours."""
    at_ms = MONDAY_NOON + hours_from_noon * HOUR
    assert scheduled(at_ms, [msgspec.convert(window, Window)], "UTC") is inside


def test_schedules_follow_the_sites_time_zone() -> None:
    window = [Window("13:00", "14:00")]
    assert not scheduled(MONDAY_NOON, window, "UTC")
    assert scheduled(MONDAY_NOON, window, "Europe/Berlin")
    assert scheduled(MONDAY_NOON, [], "UTC")
