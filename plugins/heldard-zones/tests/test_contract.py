"""Every statement of the zone contract, Z-1 to Z-31. Where heldard decides otherwise the test says why."""

from __future__ import annotations

import msgspec
import pytest
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import MAX_TRACKS

INSIDE, OUTSIDE = (0.5, 0.5), (0.95, 0.5)
ONCE = {"enter_frames": 1, "exit_frames": 1}


def test_z1_untracked_and_boxless_detections_do_not_count_and_the_most_confident_of_a_track_does(stage):
    stage.zone(confirm_frames=1)
    assert stage.see(0, {"at": INSIDE}, {"track_id": "7"}) == []
    events = stage.see(
        1,
        {"track_id": "7", "at": OUTSIDE, "confidence": 0.6},
        {"track_id": "7", "at": INSIDE, "confidence": 0.8, "label": "best"},
        {"track_id": "7", "at": OUTSIDE, "confidence": 0.8},
    )
    assert [(event.type, event.label) for event in events] == [("enter", "best")]


def test_z2_a_batch_without_tracks_still_moves_time(stage):
    """Upstream ends the call at once: no pruning, no occupancy. Then a quiet camera never sees an exit (X-21)."""
    stage.zone(**ONCE)
    stage.stand("7", 0, 1)
    assert [event.type for event in stage.see(10)] == ["exit"]
    assert stage.count() == (0, 0)


def test_z3_the_position_is_the_bottom_centre_held_inside_the_picture(stage):
    """Upstream does not clamp: 0.43211 + 0.56789 is more than 1 in binary, so a box cut by the picture's bottom is
    outside a zone that covers all of it (X-25)."""
    stage.zone([(0, 0), (1, 0), (1, 1), (0, 1)], **ONCE)
    assert [e.type for e in stage.see(0, {"track_id": "1", "bbox": (0.2, 0.43211, 0.4, 0.56789000000001)})] == ["enter"]
    stage.zone([(0.39, 0.69), (0.41, 0.69), (0.41, 0.71), (0.39, 0.71)], "spot", **ONCE)
    assert [e.zone.name for e in stage.see(1, {"track_id": "2", "bbox": (0.2, 0.1, 0.4, 0.6)})] == ["yard", "spot"]


def test_z4_a_wrong_label_or_low_confidence_is_invisible_and_counted(stage):
    zone = stage.zone(labels=["car"], **ONCE)
    assert stage.see(0, {"track_id": "1", "at": INSIDE, "label": "Car"}) == []
    assert stage.see(1, {"track_id": "2", "at": INSIDE, "label": "car", "confidence": 0.49}) == []
    assert [e.type for e in stage.see(2, {"track_id": "2", "at": INSIDE, "label": "car", "confidence": 0.5})] == [
        "enter"
    ]
    assert (zone.refused["label"], zone.refused["confidence"]) == (1, 1)


def test_z4_what_is_invisible_does_not_keep_an_object_inside(stage):
    stage.zone(**ONCE)
    stage.see(0, {"track_id": "1", "at": INSIDE})
    for second in range(1, 7):
        stage.see(second, {"track_id": "1", "at": INSIDE, "confidence": 0.1})
    assert stage.told() == ["enter", "exit"]


def test_z4_a_missing_confidence_is_not_below_the_floor(stage):
    """Upstream takes it for 0, so a worker that does not grade is never seen (X-26)."""
    stage.zone(**ONCE)
    assert [event.type for event in stage.see(0, {"track_id": "1", "at": INSIDE, "confidence": None})] == ["enter"]


def test_z5_tracks_of_two_tasks_do_not_share_state(stage):
    """Upstream's key has no task, so two trackers with the same ids flip each other's membership (X-23)."""
    stage.zone(confirm_frames=2)
    stage.see(0.0, {"track_id": "1", "at": INSIDE}, task="ai_1")
    stage.see(0.1, {"track_id": "1", "at": OUTSIDE}, task="ai_2")
    stage.see(0.2, {"track_id": "1", "at": INSIDE}, task="ai_1")
    stage.see(0.3, {"track_id": "1", "at": OUTSIDE}, task="ai_2")
    assert stage.told() == ["enter"]


def test_z6_times_are_those_of_the_batch(stage):
    """Upstream uses the clock at processing, so a replayed batch changes dwell and order (X-15)."""
    stage.zone(dwell_seconds=3, confirm_frames=1)
    stage.stand("1", 100, 104)
    assert [(event.type, stage.at(event)) for event in stage.events] == [("enter", 100), ("dwell", 103)]


def test_z8_membership_flips_after_confirm_frames(stage):
    stage.zone(confirm_frames=3)
    assert stage.walk("1", [(0, *INSIDE), (1, *INSIDE)]) == []
    assert stage.walk("1", [(2, *OUTSIDE), (3, *INSIDE), (4, *INSIDE)]) == []
    assert [e.type for e in stage.walk("1", [(5, *INSIDE)])] == ["enter"]
    assert stage.walk("1", [(6, *OUTSIDE), (7, *OUTSIDE), (8, *INSIDE), (9, *OUTSIDE), (10, *OUTSIDE)]) == []
    assert [e.type for e in stage.walk("1", [(11, *OUTSIDE)])] == ["exit"]


def test_z8_one_confirm_frame_flips_at_once(stage):
    stage.zone(confirm_frames=1)
    assert [e.type for e in stage.walk("1", [(0, *INSIDE), (1, *OUTSIDE), (2, *INSIDE)])] == ["enter", "exit", "enter"]


def test_z8_without_a_setting_three_frames_or_six_tenths_enter_and_a_second_leaves(stage):
    """Upstream's default is two frames both ways: at 5 fps a jitter of 0.4 s flaps, at 0.5 fps an exit takes 4 s."""
    stage.zone()
    stage.walk("1", [(0, *INSIDE), (0.2, *INSIDE), (0.4, *INSIDE)])
    stage.walk("1", [(0.6, *OUTSIDE), (1.4, *OUTSIDE), (1.6, *OUTSIDE)])
    stage.walk("2", [(10, *INSIDE), (10.6, *INSIDE)])
    assert [(e.type, stage.at(e)) for e in stage.events] == [("enter", 0.4), ("exit", 1.6), ("enter", 10.6)]


@pytest.mark.parametrize(("given", "frames"), [(2, 2), (0, 1), (99, 10), ("3", 3), (-1, 3), (2.5, 3), (True, 3)])
def test_6_1_confirm_frames_is_clamped_and_nonsense_is_the_default(given, frames):
    """The default is 3 frames or 0.6 s instead of upstream's 2."""
    zone = Zone(_row(confirm_frames=given))
    assert zone.enter_frames == frames


@pytest.mark.parametrize(("given", "floor"), [({}, 0.5), (0.25, 0.25), (0, 0), (7, 1), ("high", 0.5), (None, 0.5)])
def test_min_confidence_default_override_and_clamp(given, floor):
    assert Zone(_row() if given == {} else _row(min_confidence=given)).min_confidence == floor


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, (True, 0.02, 120)),
        ({"static_suppression": False}, (False, 0.02, 120)),
        ({"static_suppression": 0}, (True, 0.02, 120)),
        ({"static_epsilon": 0.05, "static_after_seconds": 300}, (True, 0.05, 300)),
        ({"static_epsilon": -1, "static_after_seconds": "soon"}, (True, 0.02, 120)),
        ({"static_epsilon": 9, "static_after_seconds": 1}, (True, 0.5, 5)),
    ],
)
def test_static_params_defaults_and_overrides(config, expected):
    zone = Zone(_row(**config))
    found = (zone.static_suppression, zone.static_epsilon_squared**0.5, zone.static_after_ms / 1000)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("given", "direction"), [({}, "any"), ("ab", "ab"), ("ba", "ba"), ("up", "any"), (3, "any")])
def test_line_direction_filter_parses_config(given, direction):
    config = {} if given == {} else {"direction": given}
    assert Zone(_row(kind="line", polygon=[(0, 0), (1, 1)], **config)).direction == direction


def _row(kind="region", polygon=((0, 0), (1, 0), (1, 1)), **config):
    return ZoneRow(number=1, id="zone_1", camera_id="cam", name="z", kind=kind, polygon=list(polygon), config=config)


def test_z9_the_entry_time_is_that_of_the_flip(stage):
    stage.zone(confirm_frames=2, dwell_seconds=10)
    stage.walk("1", [(0, *INSIDE), (2, *INSIDE), (6, *INSIDE), (10, *INSIDE), (11, *INSIDE), (13, *INSIDE)])
    stage.walk("1", [(14, *OUTSIDE), (15, *OUTSIDE)])
    assert [(e.type, stage.at(e), e.dwell_s) for e in stage.events] == [
        ("enter", 2, None), ("dwell", 12, 10.0), ("exit", 15, 12.0),
    ]  # fmt: skip


def test_z10_dwell_is_raised_once_a_stay_when_it_is_due(stage):
    """Upstream waits for an observation after the time; here the clock is enough, dated by when it was due."""
    stage.zone(confirm_frames=1, dwell_seconds=2)
    stage.see(0, {"track_id": "1", "at": INSIDE})
    assert [(e.type, stage.at(e), e.dwell_s) for e in stage.tick(3.7)] == [("dwell", 2, 2.0)]
    assert stage.stand("1", 4, 9) == []


def test_z10_dwell_waits_while_an_exit_is_being_confirmed(stage):
    """Upstream raises it then; but an object that was last seen outside has perhaps left already."""
    stage.zone(confirm_frames=3, dwell_seconds=2)
    stage.walk("1", [(0, *INSIDE), (0.1, *INSIDE), (0.2, *INSIDE), (2, *OUTSIDE)])
    assert stage.tick(3) == []
    assert [(e.type, stage.at(e)) for e in stage.walk("1", [(3.5, *INSIDE)])] == [("dwell", 3.5)]


def test_z11_presence_is_a_region(stage):
    stage.zone(kind="presence", **ONCE)
    assert [e.type for e in stage.walk("1", [(0, *INSIDE), (1, *OUTSIDE)])] == ["enter", "exit"]


def test_z12_a_lost_track_leaves_after_the_gap_with_its_label(stage):
    """Upstream waits 120 s and leaves the label empty; here a gap of 5 s is bridged and the exit knows who left."""
    stage.zone(**ONCE)
    stage.see(0, {"track_id": "1", "at": INSIDE, "label": "dog"})
    assert stage.tick(5) == []
    events = stage.tick(60)
    assert [(e.type, stage.at(e), e.label, e.dwell_s, e.reason) for e in events] == [("exit", 5, "dog", 0.0, "lost")]


def test_z14_exits_and_occupancy_come_without_traffic(stage):
    """Upstream has no timer: they stay pending until some zoned camera sees a track (X-21)."""
    stage.zone(**ONCE)
    stage.see(0, {"track_id": "1", "at": INSIDE})
    assert stage.count() == (1, 0)
    stage.tick(20)
    assert stage.count() == (0, 0)
    assert [(o.at - stage.ms(0), o.count) for o in stage.occupancy] == [(0, 1), (5000, 0)]


def test_z15_z16_what_stands_within_epsilon_is_suppressed_once(stage):
    stage.zone(**ONCE)
    assert [e.type for e in stage.stand("1", 0, 119, fps=1)] == ["enter"]
    assert [e.type for e in stage.stand("1", 120, 200, fps=1)] == ["static_suppressed"]


def test_z16_update_static_lifecycle_a_mover_can_be_suppressed_again(stage):
    """Upstream: one move disables suppression for ever, so a car that drives in and parks is never suppressed. Here
    the place where it stands moves along (X-27)."""
    stage.zone(**ONCE)
    stage.stand("1", 0, 60, fps=1)
    assert stage.told() == ["enter"]
    stage.stand("1", 61, 121, fps=1)
    assert stage.told() == ["enter", "static_suppressed"]
    stage.stand("1", 122, 241, fps=1, x=0.6)
    assert stage.count() == (1, 0)
    stage.stand("1", 242, 250, fps=1, x=0.6)
    assert stage.told() == ["enter", "static_suppressed", "static_suppressed"]
    assert stage.count() == (0, 1)


def test_z16_a_slowly_moving_track_is_never_suppressed(stage):
    stage.zone(**ONCE)
    for step in range(10):
        stage.stand("1", step * 30, step * 30 + 29, fps=1, x=0.3 + step * 0.01)
    assert stage.told() == ["enter"]


def test_z17_suppressed_objects_do_not_count_as_moving_and_still_leave_in_pairs(stage):
    """Upstream raises no exit for them, ever: an enter without an exit (X-27)."""
    stage.zone(**ONCE)
    stage.stand("1", 0, 130, fps=1)
    assert stage.count() == (0, 1)
    stage.walk("1", [(131, 0.7, 0.5), (132, *OUTSIDE)])
    assert stage.told() == ["enter", "static_suppressed", "exit"]
    assert stage.events[-1].dwell_s == 132
    assert stage.count() == (0, 0)


def test_z17_a_long_dwell_is_told_once_even_when_standing(stage):
    """Upstream never raises a dwell longer than the suppression time: no alarm for the car that blocks a gate."""
    stage.zone(dwell_seconds=300, dwell_repeat_seconds=60, **ONCE)
    stage.stand("1", 0, 600, fps=1)
    assert [(e.type, stage.at(e)) for e in stage.events if e.type == "dwell"] == [("dwell", 300)]


def test_z18_moving_again_is_no_second_enter(stage):
    """Upstream raises a second enter and restarts the dwell, so there are more enters than exits."""
    stage.zone(**ONCE)
    stage.stand("1", 0, 130, fps=1)
    stage.walk("1", [(131, 0.55, 0.5)])
    assert stage.told() == ["enter", "static_suppressed"]
    assert stage.count() == (1, 0)


def test_z19_a_reborn_track_folds_into_the_suppressed_one(stage):
    stage.zone(**ONCE)
    stage.stand("1", 0, 130, fps=1)
    stage.stand("2", 140, 150, fps=1, x=0.515)
    assert stage.told() == ["enter", "static_suppressed"]
    stage.stand("3", 160, 161, fps=1, x=0.7)
    assert stage.told() == ["enter", "static_suppressed", "enter"]


def test_z19_a_second_box_on_a_standing_object_is_that_object(stage):
    stage.zone(**ONCE)
    stage.stand("1", 0, 130, fps=1)
    both = [{"track_id": "1", "at": INSIDE}, {"track_id": "2", "at": (0.51, 0.5)}]
    for second in range(131, 140):
        stage.see(second, *both)
    assert stage.told() == ["enter", "static_suppressed"]
    stage.walk("2", [(140, 0.7, 0.5), (141, *OUTSIDE)])
    assert stage.told()[2:] == ["enter", "exit"]


def test_z20_suppression_comes_before_membership_and_holds_for_lines(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    assert [e.type for e in stage.stand("1", 0, 130, fps=1, x=0.49)] == ["static_suppressed"]


def test_z21_lines_need_no_confirm_frames_and_know_no_membership(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line", confirm_frames=5, dwell_seconds=1)
    assert [e.type for e in stage.walk("1", [(0, 0.4, 0.5), (1, 0.6, 0.5), (9, 0.6, 0.6)])] == ["cross_ab"]
    assert stage.count() == (0, 0)


def test_z21_a_line_may_have_more_than_two_points(stage):
    stage.zone([(0.5, 0.0), (0.5, 0.5), (0.9, 0.5)], kind="line", recross_seconds=0)
    assert [e.type for e in stage.walk("1", [(0, 0.7, 0.3), (1, 0.7, 0.7), (2, 0.3, 0.3), (3, 0.7, 0.3)])] == [
        "cross_ba", "cross_ab",
    ]  # fmt: skip


def test_z22_a_step_that_lands_on_the_line_counts_when_it_goes_on(stage):
    """Upstream asks for a strict intersection of one step: landing on the line and leaving it never fires."""
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    assert [e.type for e in stage.walk("1", [(0, 0.4, 0.5), (1, 0.5, 0.5), (2, 0.6, 0.5)])] == ["cross_ab"]


def test_z22_touching_the_line_and_turning_back_is_no_crossing(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    assert stage.walk("1", [(0, 0.4, 0.5), (2, 0.5, 0.5), (4, 0.4, 0.5)]) == []
    assert stage.walk("2", [(10, 0.6, 0.5), (12, 0.5, 0.5), (14, 0.6, 0.5)]) == []


@pytest.mark.parametrize(
    ("line", "start", "end", "kind"),
    [
        ([(0.5, 0), (0.5, 1)], (0.4, 0.5), (0.6, 0.5), "cross_ab"),
        ([(0.5, 0), (0.5, 1)], (0.6, 0.5), (0.4, 0.5), "cross_ba"),
        ([(0, 0.5), (1, 0.5)], (0.5, 0.4), (0.5, 0.6), "cross_ba"),
        ([(0, 0.5), (1, 0.5)], (0.5, 0.6), (0.5, 0.4), "cross_ab"),
    ],
)
def test_z23_directions(stage, line, start, end, kind):
    stage.zone(line, kind="line")
    assert [e.type for e in stage.walk("1", [(0, *start), (1, *end)])] == [kind]


def test_z24_the_direction_filter_and_standing_tracks(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line", direction="ba", recross_seconds=0)
    assert [e.type for e in stage.walk("1", [(0, 0.4, 0.5), (1, 0.6, 0.5), (2, 0.4, 0.5)])] == ["cross_ba"]
    stage.stand("2", 10, 140, fps=1, x=0.501)
    assert [e.type for e in stage.walk("2", [(141, 0.499, 0.5), (142, 0.501, 0.5)])] == []


def test_z25_the_previous_point_may_be_two_minutes_old(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    stage.walk("1", [(0, 0.4, 0.5), (119, 0.6, 0.5)])
    stage.walk("2", [(200, 0.4, 0.5), (321, 0.6, 0.5)])
    assert [e.track_id for e in stage.events] == ["1"]


def test_z25_hidden_observations_do_not_move_the_previous_point(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    stage.walk("1", [(0, 0.4, 0.5)])
    assert stage.walk("1", [(1, 0.6, 0.5)], confidence=0.1) == []
    assert [e.type for e in stage.walk("1", [(2, 0.6, 0.5)])] == ["cross_ab"]


def test_z26_events_come_in_the_order_of_detections_and_zones(stage):
    """Upstream's order is that of a hash table."""
    stage.zone(name="first", **ONCE)
    stage.zone(name="second", **ONCE)
    events = stage.see(0, {"track_id": "b", "at": INSIDE}, {"track_id": "a", "at": INSIDE})
    assert [(e.track_id, e.zone.name) for e in events] == [
        ("b", "first"), ("b", "second"), ("a", "first"), ("a", "second"),
    ]  # fmt: skip


def test_z29_occupancy_is_reported_when_it_changes(stage):
    stage.zone(**ONCE)
    stage.see(0, {"track_id": "1", "at": INSIDE}, {"track_id": "2", "at": INSIDE})
    stage.see(1, {"track_id": "1", "at": INSIDE}, {"track_id": "2", "at": (0.4, 0.5)})
    stage.see(2, {"track_id": "1", "at": OUTSIDE}, {"track_id": "2", "at": (0.4, 0.5)})
    assert [(o.at - stage.ms(0), o.count) for o in stage.occupancy] == [(0, 2), (2000, 1)]


def test_z30_a_restart_in_the_middle_of_a_visit_changes_nothing(stage):
    """Upstream forgets everything: the stay is never closed and who is present enters again (X-19, X-22)."""
    stage.zone(confirm_frames=2, dwell_seconds=3)
    for at, place in [(0, INSIDE), (1, INSIDE), (2, INSIDE), (3, INSIDE), (4, INSIDE), (5, OUTSIDE), (6, OUTSIDE)]:
        stage.walk("1", [(at, *place)])
        stage.restart()
    assert [(e.type, stage.at(e), e.dwell_s) for e in stage.events] == [
        ("enter", 1, None), ("dwell", 4, 3.0), ("exit", 6, 4.0),
    ]  # fmt: skip
    assert stage.count() == (0, 0)


def test_z31_deleting_a_zone_closes_its_stays_at_once(stage):
    """Upstream leaves them until they expire and then raises exits under the old name."""
    stage.zone(**ONCE)
    stage.stand("1", 0, 2)
    events = stage.use()
    assert [(e.type, e.reason, e.zone.name, e.label) for e in events] == [("exit", "zone_removed", "yard", "person")]
    assert stage.tick(500) == []


def test_z31_editing_a_zone_keeps_the_stays_that_still_fit(stage):
    stage.zone(**ONCE)
    stage.see(0, {"track_id": "1", "at": (0.3, 0.5)}, {"track_id": "2", "at": (0.7, 0.5)})
    left_half = [(0.2, 0.2), (0.5, 0.2), (0.5, 0.8), (0.2, 0.8)]
    events = stage.use(msgspec.structs.replace(stage.rows[0], polygon=left_half))
    assert [(e.type, e.track_id, e.reason) for e in events] == [("exit", "2", "zone_edited")]
    stage.see(1, {"track_id": "1", "at": (0.3, 0.5)}, {"track_id": "2", "at": (0.7, 0.5)})
    assert stage.told() == ["enter", "enter", "exit"]
    assert stage.count() == (1, 0)


def test_x24_a_restarted_workers_ids_are_new_tracks(stage):
    stage.zone(**ONCE)
    stage.see(0, {"track_id": "1", "at": (0.3, 0.5)}, epoch="first")
    stage.see(1, {"track_id": "1", "at": (0.7, 0.5)}, epoch="second")
    assert [(e.type, e.at - stage.ms(0)) for e in stage.events] == [("enter", 0), ("enter", 1000)]


def test_a_tracker_that_renames_everything_does_not_make_a_lines_memory_grow(stage):
    stage.zone([(0.5, 0.0), (0.5, 1.0)], kind="line")
    for n in range(500):
        stage.walk(f"{n}", [(n / 5, 0.1 + n % 80 / 100, 0.5 + n % 7 / 20)])
    assert len(stage.state.tracks) <= 200


def test_a_camera_holds_a_bounded_number_of_tracks(stage):
    stage.zone(**ONCE)
    for part in range(3):
        stage.see(part * 0.1, *[{"track_id": f"{part}-{n}", "at": (0.9, 0.9)} for n in range(1000)])
    assert len(stage.state.tracks) == MAX_TRACKS
