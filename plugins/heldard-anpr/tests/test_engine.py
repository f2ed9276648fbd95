"""The engine alone: reads in, decisions out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from heldard_anpr.engine.intake import seen
from heldard_anpr.engine.model import CameraState, Decided, Ended, Noted, Outcome, Rules
from heldard_anpr.engine.visits import advance, observe
from hypothesis import given, settings
from hypothesis import strategies as st

from heldard.plugin import Batch, Detection, Provenance

T0 = 1_700_000_000_000
PLATE = "ABC1234"


def detection(plate: str | None = PLATE, *, track: str | None = "1", confidence: float | None = 0.95, index: int = 0,
              **more: Any) -> Detection:  # fmt: skip
    attributes: dict[str, Any] = {"vehicle_type": "car"} | more
    if plate is not None:
        attributes["plate"] = plate
    if confidence is not None and plate is not None:
        attributes["plate_confidence"] = confidence
    return Detection(index, "car", 0.8, (0.1, 0.1, 0.4, 0.4), track, msgspec.json.encode(attributes))


class Camera:
    """Plays frames into the engine and remembers what came of them."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.state = CameraState()
        self.outcomes: list[Outcome] = []
        self.seq = 0

    def frame(self, at_s: float, *detections: Detection, epoch: str = "e1", native: bool = False,
              captured: bool = True) -> list[Outcome]:  # fmt: skip
        self.seq += 1
        at_ms = T0 + round(at_s * 1000)
        source = Provenance("camera_native", "kernel:native_anpr") if native else Provenance()
        batch = Batch(self.seq, "gate", "anpr", at_ms, at_ms, detections, epoch=epoch, task_id="ai_1",
                      captured_ms=at_ms if captured else None, provenance=source)  # fmt: skip
        self.state, made = observe(self.state, seen(batch), self.rules)
        self.outcomes += made
        return made

    def tick(self, at_s: float) -> list[Outcome]:
        self.state, made = advance(self.state, T0 + round(at_s * 1000), self.rules)
        self.outcomes += made
        return made

    @property
    def decided(self) -> list[Decided]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Decided)]

    @property
    def plates(self) -> list[str]:
        return [outcome.consensus.plate for outcome in self.decided]

    def fates(self) -> list[str]:
        return [outcome.fate for outcome in self.outcomes if isinstance(outcome, Noted)]


def test_p12_three_full_reads_decide() -> None:
    camera = Camera()
    for at in (0, 0.2):
        camera.frame(at, detection())
    assert camera.decided == []
    camera.frame(0.4, detection())
    (made,) = camera.decided
    assert (made.consensus.plate, made.rule, made.strict, made.at_ms) == (PLATE, "votes", True, T0 + 400)


def test_p3_detections_without_attributes_or_without_track_and_plate_are_skipped() -> None:
    camera = Camera()
    camera.frame(0, Detection(0, "car", 0.9, None, "1", b"{}"), detection(None, track=None, index=1))
    assert camera.state.visits == {}


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"x"', b'{"plate": 7}', b'{"plate": "..."}'])
def test_p3_odd_attributes_are_left_out(raw: bytes) -> None:
    camera = Camera()
    camera.frame(0, Detection(0, None, None, None, None, raw))
    assert camera.outcomes == []


def test_p4_without_a_track_the_plate_is_the_key() -> None:
    """Changed: a plate that is one confusion away is the same key, so one misread does not start a second visit."""
    camera = Camera()
    for at, plate in enumerate([PLATE, "A8C1234", PLATE, PLATE]):
        camera.frame(at * 0.2, detection(plate, track=None))
    assert len(camera.state.visits) == 1
    assert camera.plates == [PLATE]


def test_p5_one_vote_per_frame_whatever_the_repetitions() -> None:
    camera = Camera()
    camera.frame(0, *(detection(index=index) for index in range(3)))
    assert camera.fates() == ["vote", "same_frame", "same_frame"]
    assert camera.decided == []
    for at in (0.2, 0.4, 0.6):
        camera.frame(at, detection())
    assert len(camera.decided) == 1


def test_p5_the_same_frame_from_another_task_is_no_second_vote() -> None:
    camera = Camera()
    for _ in range(4):
        camera.frame(0, detection())
    assert camera.fates() == ["vote", "same_frame", "same_frame", "same_frame"]


def test_p5_nor_is_it_when_it_comes_late() -> None:
    camera = Camera()
    for at, captured_s in ((0.0, 0.0), (0.2, 0.2), (0.3, 0.0), (0.35, 0.2)):
        camera.seq += 1
        at_ms = T0 + round(at * 1000)
        batch = Batch(camera.seq, "gate", "anpr", at_ms, at_ms, (detection(),), task_id="ai_1", epoch="e1",
                      captured_ms=T0 + round(captured_s * 1000))  # fmt: skip
        camera.state, made = observe(camera.state, seen(batch), camera.rules)
        camera.outcomes += made
    assert camera.fates() == ["vote", "vote", "same_frame", "same_frame"]


def test_p6_one_camera_native_read_decides() -> None:
    camera = Camera()
    camera.frame(0, detection(), native=True)
    assert camera.plates == [PLATE]
    assert camera.decided[0].strict


def test_p6_source_and_prov_are_not_the_workers_word() -> None:
    camera = Camera()
    camera.frame(0, detection(source="camera_native"))
    assert camera.decided == []


def test_p7_confidence_weighs_and_below_the_floor_does_not_vote() -> None:
    """Changed: upstream counts a 0.05 read like a 0.99 one; here it is noted as `below_floor` and does not vote."""
    camera = Camera()
    for at in range(4):
        camera.frame(at * 0.2, detection("XYZ9876", confidence=0.05))
    assert camera.decided == []
    assert set(camera.fates()) == {"below_floor"}
    for at in range(3):
        camera.frame(1 + at * 0.2, detection())
    assert camera.plates == [PLATE]


def test_p7_half_sure_reads_need_more_of_them() -> None:
    camera = Camera(Rules(agree_ms=60_000))
    for at in range(4):
        camera.frame(at * 0.2, detection(confidence=0.54))
    assert camera.decided == []
    camera.frame(1.0, detection(confidence=0.54))
    assert camera.plates == [PLATE]
    assert not camera.decided[0].strict


def test_p7_a_missing_confidence_counts_as_the_floor() -> None:
    camera = Camera(Rules(agree_ms=60_000))
    for at in range(6):
        camera.frame(at * 0.2, detection(confidence=None))
    assert camera.plates == [PLATE]


def test_p8_plausible_plates_go_before_better_supported_implausible_ones() -> None:
    camera = Camera(Rules(agree_ms=60_000))
    for at in range(5):
        camera.frame(at * 0.2, detection("12345"))
    assert camera.plates == ["12345"]
    other = Camera(Rules(min_votes=50, agree_ms=60_000))
    for at, plate in enumerate(["12345"] * 5 + [PLATE] * 2):
        other.frame(at * 0.2, detection(plate))
    other.tick(60)
    assert other.plates == [PLATE]


def test_p8_ties_are_decided_the_same_way_in_any_order() -> None:
    """Changed: upstream's ties fall by hash order."""
    found = set()
    for order in (["ABC1234", "XYZ9876", "QRS5555"], ["QRS5555", "ABC1234", "XYZ9876"]):
        camera = Camera(Rules(min_votes=50, agree_ms=60_000))
        for at, plate in enumerate(order):
            camera.frame(at * 0.2, detection(plate))
        camera.tick(60)
        found.update(camera.plates)
    assert len(found) == 1


def test_p9_traits_are_those_of_the_most_confident_detection() -> None:
    camera = Camera()
    sure = Detection(0, "truck", 0.9, None, "1", msgspec.json.encode({"plate": PLATE, "color": "red"}))
    unsure = Detection(0, "car", 0.4, None, "1", msgspec.json.encode({"plate": PLATE, "color": "blue", "make": "Seat"}))
    blank = Detection(0, " ", 0.99, None, "1", msgspec.json.encode({"plate": PLATE, "color": "  "}))
    for at, one in enumerate([unsure, sure, unsure, blank]):
        camera.frame(at * 0.1, one)
    look = next(iter(camera.state.visits.values())).look
    assert (look.vehicle_type.value, look.color.value, look.make.value) == ("truck", "red", "Seat")


def test_p10_the_last_known_direction_counts() -> None:
    camera = Camera()
    camera.frame(0, detection(direction="inbound"))
    camera.frame(0.1, detection(direction="sideways"))
    camera.frame(0.2, detection())
    assert camera.decided[0].visit.look.direction == "inbound"


def test_p10_a_direction_learned_later_amends() -> None:
    camera = Camera()
    for at in range(3):
        camera.frame(at * 0.2, detection())
    camera.frame(1, detection(direction="outbound"))
    assert [made.visit.look.direction for made in camera.decided] == ["unknown", "outbound"]
    assert camera.decided[1].amends is not None


def test_p11_any_detection_of_the_track_keeps_the_visit_open() -> None:
    camera = Camera()
    camera.frame(0, detection())
    for at in range(5, 40, 5):
        camera.frame(at, detection(None))
    assert len(camera.state.visits) == 1
    assert camera.decided == []


def test_p13_a_decided_visit_does_not_decide_again_on_the_same_plate() -> None:
    camera = Camera()
    for at in range(30):
        camera.frame(at * 0.2, detection())
    camera.tick(60)
    assert camera.plates == [PLATE]


def test_p13_a_better_read_amends_the_decision_of_its_visit() -> None:
    """Changed: upstream never corrects a committed plate; here an amendment says what was decided before."""
    camera = Camera()
    for at in range(3):
        camera.frame(at * 0.2, detection("A8C1234", confidence=0.62))
    camera.tick(3)
    for at in range(6):
        camera.frame(3.2 + at * 0.2, detection(PLATE, confidence=0.97))
    assert camera.plates == ["A8C1234", PLATE]
    assert camera.decided[1].amends is not None
    assert camera.decided[1].amends.plate == "A8C1234"


def test_p14_a_visit_ends_by_time_not_by_the_next_car() -> None:
    """Changed: upstream waits for later traffic, and 30 s; here a tick ends it 10 s after it was last seen."""
    camera = Camera()
    camera.frame(0, detection())
    assert camera.tick(9.9) == []
    made = camera.tick(25)
    assert [type(outcome) for outcome in made] == [Decided, Ended]
    assert camera.decided[0].rule == "visit_end"
    assert camera.decided[0].at_ms == T0 + 10_000
    assert not camera.decided[0].strict


def test_p15_a_track_that_never_had_a_plate_decides_nothing() -> None:
    camera = Camera()
    camera.frame(0, detection(None))
    made = camera.tick(60)
    assert [type(outcome) for outcome in made] == [Ended]
    assert camera.state.visits == {}


def test_p18_a_switched_track_id_stays_in_the_visit() -> None:
    """Changed: upstream makes a new event of each track id."""
    camera = Camera()
    for at in range(12):
        camera.frame(at * 0.2, detection(track=str(at)))
    assert camera.plates == [PLATE]
    assert len(camera.state.visits) == 1


def test_p18_a_new_track_seen_before_its_plate_joins_when_the_plate_is_read() -> None:
    camera = Camera()
    for at in range(3):
        camera.frame(at * 0.2, detection(track="1"))
    camera.frame(1, detection(None, track="2"))
    assert len(camera.state.visits) == 2
    camera.frame(1.2, detection("A8C1234", track="2"))
    assert len(camera.state.visits) == 1


def test_agreement_decides_after_its_time_however_time_is_told() -> None:
    fine, coarse = Camera(), Camera()
    for camera in (fine, coarse):
        camera.frame(0, detection(confidence=0.8))
        camera.frame(0.3, detection(confidence=0.8))
    for tenth in range(4, 40):
        fine.tick(tenth / 10)
    coarse.tick(4)
    assert fine.decided == coarse.decided
    assert (fine.decided[0].rule, fine.decided[0].at_ms) == ("agreement", T0 + 1500)


def test_two_vehicles_in_one_frame_never_mix() -> None:
    camera = Camera()
    for at in range(4):
        camera.frame(at * 0.2, detection("ABC1234", track="1"), detection("ABC1284", track="2", index=1))
    assert sorted(camera.plates) == ["ABC1234", "ABC1284"]
    assert {made.consensus.votes for made in camera.decided} == {3.0}


def test_two_similar_vehicles_without_tracks_cannot_join_a_tracked_one_of_the_frame() -> None:
    camera = Camera()
    camera.frame(0, detection("ABC1234", track="1"))
    camera.frame(0.2, detection("ABC1234", track="1"), detection("ABC1234", track=None, index=1))
    assert len(camera.state.visits) == 2


def test_x24_a_track_id_reused_after_a_pause_is_another_vehicle() -> None:
    camera = Camera()
    for at in range(3):
        camera.frame(at * 0.2, detection("ABC1234"))
    for at in range(3):
        camera.frame(5 + at * 0.2, detection("XYZ9876"))
    assert camera.plates == ["ABC1234", "XYZ9876"]
    assert len({made.visit.id for made in camera.decided}) == 2


def test_x24_a_track_id_reused_without_a_pause_is_another_vehicle_after_two_reads_that_agree() -> None:
    camera = Camera()
    plates = ["ABC1234"] * 3 + ["XYZ9876", "ABC1234", "XYZ9876"] + ["XYZ9876"] * 3
    for at, plate in enumerate(plates):
        camera.frame(at * 0.2, detection(plate))
    assert camera.plates == ["ABC1234", "XYZ9876"]
    assert all(made.amends is None for made in camera.decided)


def test_x24_track_ids_of_two_worker_runs_are_unrelated() -> None:
    camera = Camera()
    camera.frame(0, detection("ABC1234"), epoch="e1")
    camera.frame(0.2, detection("XYZ9876"), epoch="e2")
    assert len(camera.state.visits) == 2


def test_x36_a_lost_and_an_extra_character_do_not_split_the_vote() -> None:
    camera = Camera()
    for at, plate in enumerate(["ABC1234", "ABC123", "ABC1234", "AABC1234", "ABC1234"]):
        camera.frame(at * 0.2, detection(plate))
    camera.tick(60)
    assert set(camera.plates) == {"ABC1234"}


def test_every_amended_verdict_is_bounded() -> None:
    camera = Camera(Rules(min_votes=1))
    plates = ["ABC1234", "A8C1234"]
    for at in range(200):
        camera.frame(at * 0.2, detection(plates[at // 20 % 2], confidence=0.99 if at // 20 % 2 else 0.9))
    assert len(camera.decided) <= 9
    assert all(len(visit.votes) <= 32 for visit in camera.state.visits.values())


def test_open_visits_are_bounded_and_the_one_unseen_longest_ends_first() -> None:
    camera = Camera()
    for at in range(70):
        camera.frame(at * 0.01, detection(None, track=str(at)))
    assert len(camera.state.visits) == 64
    assert [type(outcome) for outcome in camera.outcomes] == [Ended] * 6


def test_char_confidences_follow_the_characters() -> None:
    one = detection("ab-1234", plate_char_confidences=[0.9, 0.8, 0.1, 0.7, 0.6, 0.5, 0.4])
    batch = Batch(1, "gate", "anpr", T0, T0, (one,))
    assert seen(batch).sightings[0].chars == (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


FRAMES = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.lists(
            st.tuples(st.sampled_from(["ABC1234", "A8C1234", "XYZ9876", "ABC124", None]), st.sampled_from("12-"),
                      st.sampled_from([0.3, 0.6, 0.95])),
            max_size=3,
        ),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(FRAMES, st.integers(1, 700))
def test_ticks_between_frames_change_nothing(frames: list[Any], step_ms: int) -> None:
    plain, ticked = Camera(), Camera()
    now = 0
    for gap_ms, found in frames:
        for at in range(now, now + gap_ms, step_ms):
            ticked.tick(at / 1000)
        now += gap_ms
        shown = [
            detection(plate, track=None if track == "-" else track, confidence=confidence, index=index)
            for index, (plate, track, confidence) in enumerate(found)
        ]
        plain.frame(now / 1000, *shown)
        ticked.frame(now / 1000, *shown)
    for camera in (plain, ticked):
        camera.tick(now / 1000 + 60)
    assert plain.outcomes == ticked.outcomes
    assert plain.state == ticked.state == CameraState()


@settings(max_examples=60, deadline=None)
@given(FRAMES)
def test_state_that_was_stored_goes_on_as_if_it_had_not_been(frames: list[Any]) -> None:
    whole, stored = Camera(), Camera()
    now = 0
    for gap_ms, found in frames:
        now += gap_ms
        shown = [
            detection(plate, track=None if track == "-" else track, confidence=confidence, index=index)
            for index, (plate, track, confidence) in enumerate(found)
        ]
        whole.frame(now / 1000, *shown)
        stored.state = msgspec.msgpack.decode(msgspec.msgpack.encode(stored.state), type=CameraState)
        stored.frame(now / 1000, *shown)
    assert whole.outcomes == stored.outcomes


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["plate", "plate_confidence", "plate_char_confidences", "plate_bbox", "direction", "vehicle_type", "color", "make",
     "model", "model_versions", "source", "_prov"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=8), max_size=4), st.booleans())
def test_whatever_a_worker_sends_is_taken_or_left(frames: list[dict[str, Any]], native: bool) -> None:
    camera = Camera()
    for number, attributes in enumerate(frames):
        raw = json.dumps(attributes, allow_nan=False, default=str) if _finite(attributes) else "{}"
        camera.frame(number * 0.2, Detection(0, None, None, None, "1", raw.encode("utf-8")), native=native)
    camera.tick(100)
    assert camera.state == CameraState()


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_each_visit_decides_once_and_votes_once_a_frame(frames: list[Any]) -> None:
    camera = Camera()
    now = 0
    for gap_ms, found in frames:
        now += gap_ms
        shown = [
            detection(plate, track=None if track == "-" else track, confidence=confidence, index=index)
            for index, (plate, track, confidence) in enumerate(found)
        ]
        camera.frame(now / 1000, *shown)
    camera.tick(now / 1000 + 60)
    first = [made.visit.id for made in camera.decided if made.amends is None]
    assert len(first) == len(set(first))
    voted = [
        (noted.visit_id, noted.read.captured_ms)
        for noted in camera.outcomes
        if isinstance(noted, Noted) and noted.fate == "vote"
    ]
    assert len(voted) == len(set(voted))
    ended = [outcome.visit.id for outcome in camera.outcomes if isinstance(outcome, Ended)]
    assert len(ended) == len(set(ended))
    assert set(first) <= set(ended)
    assert all(a.at_ms <= b.at_ms for a, b in itertools.pairwise(camera.decided))
