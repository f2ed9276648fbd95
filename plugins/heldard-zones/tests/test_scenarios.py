"""What happens in front of real cameras: jitter, occlusion, flicker, jumps, changed ids, and a car parked all day."""

from __future__ import annotations

import random

import pytest
from heldard_zones import engine
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import CameraState, copy, decode
from hypothesis import given, settings
from hypothesis import strategies as st

from heldard.plugin import Batch, Detection

EDGE = 0.8  # the right edge of the stage's zone


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("fps", [1, 5, 15])
def test_an_object_jittering_on_the_edge_does_not_flap(stage, seed, fps):
    noise = random.Random(seed)
    stage.zone(static_suppression=False)
    path = ((n / fps, EDGE + noise.gauss(0, 0.005), 0.5) for n in range(120 * fps))
    stage.walk("1", path)
    assert stage.told() in (["enter"], [])


@pytest.mark.parametrize("seed", range(20))
def test_every_visit_longer_than_the_confirm_time_is_one_enter_and_one_exit(stage, seed):
    noise = random.Random(seed)
    stage.zone()
    at = 0.0
    visits = []
    for visit in range(20):
        stay = noise.uniform(0.8, 30)
        came = at
        while at < came + stay:
            stage.walk(f"{visit}", [(at, 0.7 + noise.gauss(0, 0.005), 0.5)])
            at += 0.2
        visits.append(at - 0.2 - came)
        away = at + noise.uniform(1.5, 10)
        while at < away:
            stage.walk(f"{visit}", [(at, 0.95 + noise.gauss(0, 0.005), 0.5)])
            at += 0.2
    assert stage.told() == ["enter", "exit"] * len(visits)
    exits = [event.dwell_s for event in stage.events if event.type == "exit"]
    assert exits == pytest.approx([stay - 0.4 + 0.2 for stay in visits], abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_a_missed_detector_is_bridged(stage, seed):
    noise = random.Random(seed)
    stage.zone(dwell_seconds=30)
    at = 0.0
    while at < 60:
        stage.walk("1", [(at, 0.5 + at / 600, 0.5)])
        at += noise.choice([0.2, 0.2, 0.2, 1.0, 4.9])
    assert stage.told() == ["enter", "dwell"]


def test_somebody_hidden_behind_a_wall_is_gone_after_the_gap(stage):
    stage.zone()
    stage.stand("1", 0, 10)
    stage.tick(30)
    assert [(e.type, stage.at(e)) for e in stage.events] == [("enter", 0.4), ("exit", 15)]
    assert stage.count() == (0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_a_confidence_that_flickers_around_the_floor_does_not_flap(stage, seed):
    noise = random.Random(seed)
    stage.zone()
    for n in range(300):
        stage.walk("1", [(n / 5, 0.4 + n / 3000, 0.5)], confidence=0.5 + noise.uniform(-0.2, 0.1))
    assert stage.told() == ["enter"]


def test_one_frame_inside_on_the_way_past_is_no_visit(stage):
    stage.zone()
    stage.walk("1", [(0, 0.1, 0.5), (0.2, 0.5, 0.5), (0.4, 0.9, 0.5), (0.6, 0.95, 0.5)])
    assert stage.told() == []


def test_a_jump_over_the_line_counts(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    stage.walk("1", [(0, 0.01, 0.1), (2, 0.99, 0.9)])
    assert stage.told() == ["cross_ab"]


@pytest.mark.parametrize("seed", range(20))
def test_standing_on_a_line_is_at_most_one_crossing_and_the_count_stays_right(stage, seed):
    noise = random.Random(seed)
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line", static_suppression=False)
    at = 0.0
    for x in (0.4, *(0.5 + noise.gauss(0, 0.004) for _ in range(300)), 0.4):
        stage.walk("1", [(at, x, 0.5)])
        at += 0.2
    stage.tick(at + 5)
    assert stage.told() in ([], ["cross_ab", "cross_ba"])


def test_going_back_within_the_lockout_is_told_when_it_ends(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    stage.walk("1", [(0, 0.4, 0.5), (0.2, 0.6, 0.5), (0.4, 0.4, 0.5), (0.6, 0.6, 0.5), (0.8, 0.4, 0.5)])
    stage.tick(3)
    assert [(e.type, stage.at(e)) for e in stage.events] == [("cross_ab", 0.2), ("cross_ba", 1.2)]


def test_a_crossing_may_have_to_hold(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line", line_confirm_frames=3)
    stage.walk("1", [(0, 0.4, 0.5), (0.2, 0.6, 0.5), (0.4, 0.4, 0.5), (0.6, 0.6, 0.5), (0.8, 0.7, 0.5)])
    assert stage.told() == []
    stage.walk("1", [(1.0, 0.7, 0.5)])
    assert stage.told() == ["cross_ab"]


def test_an_id_switch_in_a_zone_is_one_visit(stage):
    stage.zone()
    for n in range(100):
        stage.walk(f"id-{n // 10}", [(n / 5, 0.3 + n / 400, 0.5)])
    stage.walk("id-9", [(20, 0.9, 0.5), (20.2, 0.95, 0.5), (21.2, 0.95, 0.5)])
    assert stage.told() == ["enter", "exit"]
    assert len({event.visit for event in stage.events}) == 1


def test_an_id_switch_that_shows_both_ids_for_a_frame_is_one_visit(stage):
    stage.zone()
    stage.stand("old", 0, 2)
    stage.see(2.2, {"track_id": "old", "at": (0.5, 0.5)}, {"track_id": "new", "at": (0.505, 0.5)})
    stage.stand("new", 2.4, 9, x=0.505)
    assert stage.told() == ["enter"]


def test_a_worker_restart_goes_on_with_the_same_visit(stage):
    stage.zone()
    stage.stand("1", 0, 3)
    for n in range(20):
        stage.see(4 + n / 5, {"track_id": "9", "at": (0.51, 0.5)}, epoch="e2")
    assert stage.told() == ["enter"]


def test_two_people_who_pass_each_other_stay_two(stage):
    stage.zone()
    for n in range(40):
        stage.see(n / 5, {"track_id": "a", "at": (0.3 + n / 100, 0.5)}, {"track_id": "b", "at": (0.7 - n / 100, 0.52)})
    assert stage.told() == ["enter", "enter"]
    assert stage.count() == (2, 0)


def test_somebody_new_elsewhere_is_not_the_one_who_was_lost(stage):
    stage.zone()
    stage.stand("1", 0, 2, x=0.3)
    stage.stand("2", 2.2, 4, x=0.7)
    assert stage.told() == ["enter", "enter"]


def test_a_car_parked_for_a_day_enters_once_and_leaves_once(stage):
    """Rebirths every few minutes, gaps of seconds to hours, a box that breathes, restarts, and labels that flicker."""
    noise = random.Random(7)
    stage.zone(labels=["car", "truck"])
    stage.walk("0", [(n / 5, 0.9 - n / 100, 0.5) for n in range(36)], label="car")
    at, generation, x = 8.0, 0, 0.55
    while at < 86_400:
        generation += 1
        for _ in range(noise.randint(3, 60)):
            jitter = noise.gauss(0, 0.003)
            label = noise.choices(["car", "truck"], [9, 1])[0]
            stage.walk(f"{generation}", [(at, x + jitter, 0.5)], label=label)
            at += noise.choice([1, 1, 1, 2])
        at += noise.choice([2, 4, 30, 200, 200, 200, 5 * 3600]) if generation > 5 else 1
        stage.tick(at - 0.5)
        if generation % 7 == 0:
            stage.restart()
    assert [t for t in stage.told() if t != "static_suppressed"] == ["enter"]
    assert stage.count() == (0, 1)
    stage.walk("last", [(at + n / 5, x + n / 50, 0.5) for n in range(30)], label="car")
    stage.tick(at + 60)
    assert [t for t in stage.told() if t != "static_suppressed"] == ["enter", "exit"]
    assert stage.count() == (0, 0)
    assert stage.events[-1].dwell_s > 86_000


def test_a_person_who_stood_still_and_vanished_is_not_remembered_for_a_day(stage):
    stage.zone()
    stage.stand("1", 0, 130, fps=1)
    stage.tick(130 + 61)
    assert stage.told() == ["enter", "static_suppressed", "exit"]


def test_another_car_on_the_same_place_is_another_visit(stage):
    stage.zone()
    stage.stand("1", 0, 200, fps=1, label="car")
    stage.walk("1", [(200 + n / 5, 0.5 + n / 50, 0.5) for n in range(30)], label="car")
    stage.tick(220)
    stage.walk("2", [(230 + n / 5, 0.9 - n / 50, 0.5) for n in range(21)], label="car")
    stage.stand("2", 235, 240, fps=1, label="car")
    assert [t for t in stage.told() if t != "static_suppressed"] == ["enter", "exit", "enter"]


# --- the schedule, cooldown and occupancy ---------------------------------------------------------------------------


def test_outside_its_hours_a_zone_is_silent_and_who_stays_enters_when_they_begin(stage):
    # The stage starts at 22:13:20 UTC on a Tuesday.
    stage.zone(schedule=[{"from": "22:20", "to": "22:30"}], dwell_seconds=60)
    stage.stand("1", 0, 300, fps=1, label="dog")
    assert stage.told() == []
    stage.stand("1", 301, 500, x=0.45, fps=1, label="dog")
    assert [(e.type, stage.at(e), e.reason) for e in stage.events if e.type == "enter"] == [("enter", 400, "schedule")]
    assert [stage.at(e) for e in stage.events if e.type == "dwell"] == [460]


def test_who_entered_in_time_leaves_in_a_pair_after_hours(stage):
    stage.zone(schedule=[{"from": "22:00", "to": "22:14"}])
    stage.walk("1", [(n / 5, 0.5, 0.5) for n in range(5 * 60)])
    stage.walk("1", [(61 + n / 5, 0.95, 0.5) for n in range(10)])
    stage.walk("2", [(70 + n / 5, 0.5, 0.5) for n in range(10)])
    stage.tick(200)
    assert stage.told() == ["enter", "exit"]


def test_a_cooldown_mutes_whole_visits_and_keeps_pairs(stage):
    zone = stage.zone(cooldown_seconds=60, enter_frames=1, exit_frames=1)
    for visit, start in enumerate([0, 20, 61]):
        stage.walk(f"{visit}", [(start, 0.5, 0.5), (start + 10, 0.95, 0.5)])
    assert [(e.type, e.track_id) for e in stage.events] == [
        ("enter", "0"),
        ("exit", "0"),
        ("enter", "2"),
        ("exit", "2"),
    ]
    assert zone.refused["cooldown"] == 1


def test_occupancy_over_for_a_time_and_back_to_normal(stage):
    stage.zone(enter_frames=1, exit_frames=1, occupancy={"over": 1, "seconds": 10})
    for n in range(16):
        crowd = [{"track_id": str(t), "at": (0.3 + t / 10 + n / 1000, 0.5)} for t in range(2 if n < 14 else 1)]
        stage.see(n, *crowd)
    stage.tick(40)
    told = [(e.type, stage.at(e)) for e in stage.events if "occupancy" in e.type]
    assert told == [("occupancy_over", 10), ("occupancy_normal", 18)]


def test_too_few_and_nobody(stage):
    stage.zone(enter_frames=1, exit_frames=1, occupancy={"under": 1, "seconds": 30, "empty_seconds": 5})
    stage.tick(20)
    stage.walk("1", [(21, 0.5, 0.5), (22, 0.95, 0.5)])
    stage.tick(100)
    assert [(e.type, stage.at(e)) for e in stage.events] == [
        ("enter", 21), ("exit", 22), ("empty", 27), ("occupancy_under", 52),
    ]  # fmt: skip


# --- anchors, masks, sizes ------------------------------------------------------------------------------------------


def test_the_anchor_decides_which_point_counts(stage):
    tall = {"track_id": "1", "bbox": (0.4, 0.5, 0.2, 0.45)}  # ground point (0.5, 0.95), centre (0.5, 0.725)
    for name, anchor in [("foot", "bottom"), ("centre", "center"), ("most", "overlap")]:
        stage.zone(name=name, anchor=anchor, enter_frames=1)
    assert [e.zone.name for e in stage.see(0, tall)] == ["centre", "most"]


def test_masks_hide_and_are_counted(stage):
    zone = stage.zone(masks=[[(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)]], enter_frames=1)
    assert stage.walk("1", [(0, 0.5, 0.5)]) == []
    assert [e.type for e in stage.walk("2", [(0, 0.3, 0.5)])] == ["enter"]
    assert zone.refused["mask"] == 1
    stage.zone([(0.2, 0.2), (0.4, 0.2), (0.4, 0.8), (0.2, 0.8)], "hedge", kind="mask")
    assert stage.walk("3", [(1, 0.3, 0.6)]) == []


def test_sizes_and_labels_have_their_own_limits(stage):
    stage.zone(min_area=0.01, per_label={"cat": {"min_confidence": 0.9, "min_area": 0.0}}, enter_frames=1)
    small = {"at": None, "bbox": (0.45, 0.45, 0.05, 0.05)}
    assert stage.see(0, {"track_id": "1", **small}) == []
    assert stage.see(1, {"track_id": "2", "label": "cat", **small, "confidence": 0.85}) == []
    assert [e.type for e in stage.see(2, {"track_id": "3", "label": "cat", **small, "confidence": 0.95})] == ["enter"]


def test_a_zone_may_look_at_some_tasks_only(stage):
    stage.zone(task_types=["anpr"], enter_frames=1)
    assert stage.see(0, {"track_id": "1", "at": (0.5, 0.5)}) == []
    assert [e.type for e in stage.see(1, {"track_id": "1", "at": (0.5, 0.5)}, task_type="ANPR", task="ai_2")] == [
        "enter"
    ]


# --- what must not matter -------------------------------------------------------------------------------------------

observation = st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 20), st.sampled_from([0.3, 0.9]))
batches = st.lists(
    st.tuples(st.sampled_from([40, 200, 1000, 4000, 6000, 130_000]), st.lists(observation, max_size=3)),
    min_size=1, max_size=40,
)  # fmt: skip
ticks = st.lists(st.integers(0, 200_000), max_size=8)


def _zones():
    middle = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    crowd = {"over": 0, "under": 1, "seconds": 3, "empty_seconds": 2}
    configs = [
        ("region", middle, {"occupancy": crowd, "dwell_repeat_seconds": 2}, 3.0),
        ("region", middle, {"confirm_frames": 2, "static_after_seconds": 5, "cooldown_seconds": 4}, 0.0),
        ("line", [(0.5, 0.0), (0.5, 1.0)], {}, 0.0),
    ]
    return engine.ZoneSet(
        Zone(ZoneRow(number=n, id=f"z{n}", camera_id="c", name=f"z{n}", kind=kind, polygon=points, config=config,
                     dwell_seconds=dwell))
        for n, (kind, points, config, dwell) in enumerate(configs, 1)
    )  # fmt: skip


def _play(moves, between=(), restarting=False):
    zones, state, told = _zones(), CameraState(), []
    told += engine.change_zones(state, engine.ZoneSet(), zones, 1000).events
    at = 1000
    for seq, (pause, seen) in enumerate(moves):
        for share in sorted(between):
            if share < pause:
                told += engine.advance(state, zones, at + share).events
        at += pause
        detections = tuple(
            Detection(n, "car", confidence, (x / 20 - 0.05, y / 20 - 0.1, 0.1, 0.1), track)
            for n, (track, x, y, confidence) in enumerate(seen)
        )
        told += engine.observe(state, zones, Batch(seq, "c", "detection", at, at, detections, captured_ms=at)).events
        if restarting:
            state = copy(state)
    told += engine.advance(state, zones, at + 400_000_000).events
    return [(e.type, e.zone.id, e.at, e.track_id, e.visit, e.dwell_s, e.reason, e.extra) for e in told]


@settings(max_examples=150, deadline=None)
@given(batches, ticks)
def test_how_often_time_is_told_does_not_matter(moves, between):
    assert _play(moves, between) == _play(moves)


@settings(max_examples=150, deadline=None)
@given(batches)
def test_a_restart_after_any_batch_does_not_matter(moves):
    assert _play(moves, restarting=True) == _play(moves)


@settings(max_examples=150, deadline=None)
@given(batches)
def test_every_enter_has_its_exit_and_every_dwell_lies_between(moves):
    told = _play(moves)
    for zone in ("z1", "z2"):
        open_visits = {}
        for kind, where, at, _, visit, *_ in told:
            if where != zone:
                continue
            if kind == "enter":
                assert visit not in open_visits
                open_visits[visit] = at
            elif kind == "dwell":
                assert open_visits[visit] <= at
            elif kind == "exit":
                assert open_visits.pop(visit) <= at
        assert open_visits == {}


@settings(max_examples=100, deadline=None)
@given(batches)
def test_times_of_events_never_run_backwards(moves):
    times = [event[2] for event in _play(moves)]
    assert times == sorted(times)


def test_nothing_kept_is_an_empty_state():
    assert decode({}).tracks == {}


@settings(max_examples=150, deadline=None)
@given(batches)
def test_the_figures_are_always_those_of_the_stays(moves):
    zones, state, at = _zones(), CameraState(), 1000
    engine.change_zones(state, engine.ZoneSet(), zones, at)
    for seq, (pause, seen) in enumerate(moves):
        at += pause
        # Every seventh batch comes from a worker that started again.
        detections = tuple(
            Detection(n, "car", confidence, (x / 20 - 0.05, y / 20 - 0.1, 0.1, 0.1), track)
            for n, (track, x, y, confidence) in enumerate(seen)
        )
        batch = Batch(seq, "c", "detection", at, at, detections, epoch=str(seq // 7), captured_ms=at)
        engine.observe(state, zones, batch)
        for number, live in state.lives.items():
            stays = [t.stays[number] for t in [*state.tracks.values(), *state.parked.values()] if number in t.stays]
            entered = [stay.static for stay in stays if stay.entered]
            assert (live.count, live.static) == (entered.count(False), entered.count(True))
            assert live.shown == (live.count, live.static)


def test_a_parked_object_that_is_lost_in_two_zones_at_different_times_stays_whole(stage):
    """One zone bridges longer gaps: for a while half of the object is parked and half is a lost track."""
    stage.zone(name="short", gap_seconds=2, enter_frames=1, exit_frames=1)
    stage.zone(name="long", gap_seconds=60, enter_frames=1, exit_frames=1)
    stage.stand("1", 0, 130, fps=1, label="car")
    stage.stand("2", 150, 155, fps=1, label="car")
    assert stage.count(1) == stage.count(2) == (0, 1)
    stage.walk("2", [(156, 0.6, 0.5), (157, 0.95, 0.5)], label="car")
    assert [t for t in stage.told() if t != "static_suppressed"] == ["enter", "enter", "exit", "exit"]
    assert stage.count(1) == stage.count(2) == (0, 0)


def test_many_tracks_lost_at_once_leave_in_order(stage):
    stage.zone([(0, 0), (1, 0), (1, 1), (0, 1)], enter_frames=1, occupancy={"over": 500, "empty_seconds": 1})
    for part in range(2):
        crowd = [{"track_id": f"{part}-{n}", "at": (n % 40 / 40, n // 40 / 25)} for n in range(1000)]
        stage.see(part, *crowd)
    stage.tick(60)
    assert stage.told().count("enter") == stage.told().count("exit") > 1000
    assert stage.told()[-1] == "empty"
    times = [event.at for event in stage.events]
    assert times == sorted(times)


left_half = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
everything = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
edits = st.fixed_dictionaries(
    {
        "polygon": st.sampled_from([left_half, everything]),
        "kind": st.sampled_from(["region", "region", "presence", "line"]),
        "enabled": st.booleans(),
        "labels": st.sampled_from([[], ["car"], ["person"]]),
        "config": st.sampled_from([{}, {"shadow": True}, {"confirm_frames": 1}, {"static_after_seconds": 5}]),
        "dwell_seconds": st.sampled_from([0.0, 3.0]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(edits, batches.map(lambda moves: moves[0])), min_size=3, max_size=40))
def test_however_zones_are_edited_figures_stay_right_and_every_enter_has_its_exit(story):
    state, zones, told, at = CameraState(), engine.ZoneSet(), [], 1000
    for seq, move in enumerate(story):
        if isinstance(move, dict):
            at += 100
            row = ZoneRow(number=1, id="z1", camera_id="c", name="z1", **move)
            new = engine.ZoneSet([Zone(row)] if row.enabled else [])
            told += engine.change_zones(state, zones, new, at).events
            zones = new
        else:
            at += move[0]
            seen = tuple(
                Detection(n, "car", confidence, (x / 20 - 0.05, y / 20 - 0.1, 0.1, 0.1), track)
                for n, (track, x, y, confidence) in enumerate(move[1])
            )
            told += engine.observe(state, zones, Batch(seq, "c", "detection", at, at, seen, captured_ms=at)).events
        state = copy(state) if seq % 3 == 0 else state
        for number, live in state.lives.items():
            stays = [t.stays[number] for t in [*state.tracks.values(), *state.parked.values()] if number in t.stays]
            entered = [stay.static for stay in stays if stay.entered]
            assert (live.count, live.static) == (entered.count(False), entered.count(True))
    told += engine.change_zones(state, zones, engine.ZoneSet(), at + 1).events
    visits = [(event.type, event.visit) for event in told if event.type in ("enter", "exit")]
    enters = [visit for kind, visit in visits if kind == "enter"]
    assert sorted(enters) == sorted(visit for kind, visit in visits if kind == "exit")
    assert (state.lives, state.parked) == ({}, {})
