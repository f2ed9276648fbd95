"""The tracker: who is who from frame to frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heldard.worker import tracker
from heldard.worker.tracker import EMPTY, Box, TrackerSettings, TrackerState, iou, seen_now, step

SETTINGS = TrackerSettings()
PERIOD_MS = 125


def follow(frames: list[list[Box]], settings: TrackerSettings = SETTINGS) -> list[list[tuple[int, Box]]]:
    """(id, box) of the confirmed tracks seen in each frame."""
    state, told = EMPTY, []
    for number, boxes in enumerate(frames):
        at_ms = number * PERIOD_MS
        state = step(state, boxes, at_ms, settings)
        told.append([(t.id, t.box) for t in seen_now(state, at_ms, settings)])
    return told


def moving(start: Box, dx: float, dy: float, frames: int) -> list[Box]:
    x, y, w, h = start
    return [(x + dx * n, y + dy * n, w, h) for n in range(frames)]


def test_a_mover_has_one_identity_from_confirmation_to_the_end():
    told = follow([[box] for box in moving((0, 0, 40, 40), 12, 5, 30)])
    assert told[0] == told[1] == []
    assert {track_id for frame in told for track_id, _ in frame} == {1}
    assert all(len(frame) == 1 for frame in told[2:])


def test_two_that_pass_each_other_keep_their_identities():
    there = moving((0, 100, 30, 60), 10, 0, 40)
    back = moving((390, 112, 30, 60), -10, 0, 40)
    told = follow([list(pair) for pair in zip(there, back, strict=True)])
    assert [track_id for track_id, box in told[-1] if box == there[-1]] == [1]
    assert [track_id for track_id, box in told[-1] if box == back[-1]] == [2]


def test_a_gap_shorter_than_the_coast_is_bridged_and_a_longer_one_is_not():
    boxes = moving((0, 0, 40, 40), 8, 0, 40)
    short = [[box] if not 10 <= n < 16 else [] for n, box in enumerate(boxes)]
    long = [[box] if not 10 <= n < 30 else [] for n, box in enumerate(boxes)]
    assert {i for frame in follow(short) for i, _ in frame} == {1}
    assert {i for frame in follow(long) for i, _ in frame} == {1, 2}


def test_frames_that_come_in_a_burst_after_a_hold_up_lose_nobody():
    """Two frames stamped 1 ms apart made a braking car seem to shoot off, and it came back as another."""
    tops = {
        0: 0.378,
        79: 0.393,
        256: 0.422,
        400: 0.433,
        622: 0.444,
        623: 0.452,
        895: 0.48,
        1305: 0.5,
        1332: 0.504,
        1511: 0.519,
    }
    state = EMPTY
    for at_ms, top in tops.items():
        state = step(state, [(0.1, top, 0.17, 0.28), (0.36, top - 0.35 + at_ms / 4000, 0.14, 0.24)], at_ms, SETTINGS)
    assert [t.id for t in state.tracks] == [1, 2]


def test_who_stops_at_once_is_not_lost():
    there = moving((0, 0, 20, 20), 15, 0, 12)
    told = follow([[box] for box in [*there, *[there[-1]] * 12]])
    assert {i for frame in told for i, _ in frame} == {1}


def test_what_is_seen_once_or_twice_is_never_told():
    assert follow([[(10, 10, 5, 5)], [(10, 10, 5, 5)], [], [], [(300, 300, 5, 5)]]) == [[], [], [], [], []]


def test_new_boxes_beyond_the_most_tracks_are_ignored():
    crowd = [(float(n % 40) * 20, float(n // 40) * 20, 5.0, 5.0) for n in range(300)]
    state = step(EMPTY, crowd, 0, SETTINGS)
    assert len(state.tracks) == SETTINGS.max_tracks


def test_a_track_seen_in_every_frame_is_surer_than_one_with_gaps():
    steady = follow_state([[box] for box in moving((0, 0, 40, 40), 5, 0, 16)])
    gappy = follow_state([[box] if n % 3 else [] for n, box in enumerate(moving((0, 0, 40, 40), 5, 0, 16))])
    assert 0.5 < gappy.tracks[0].seen_share < steady.tracks[0].seen_share < 1


def follow_state(frames: list[list[Box]]) -> TrackerState:
    state = EMPTY
    for number, boxes in enumerate(frames):
        state = step(state, boxes, number * PERIOD_MS, SETTINGS)
    return state


coordinate = st.floats(-50, 500)
size = st.floats(0.5, 200)
boxes = st.lists(st.tuples(coordinate, coordinate, size, size), max_size=6)


@given(st.lists(st.tuples(boxes, st.integers(0, 3000)), max_size=15))
def test_identities_are_never_reused_and_each_box_has_at_most_one(frames: list[tuple[list[Box], int]]):
    state, at_ms, ever, dead = EMPTY, 0, set[int](), set[int]()
    for seen, wait_ms in frames:
        at_ms += wait_ms
        state = step(state, seen, at_ms, SETTINGS)
        alive = [t.id for t in state.tracks]
        assert len(set(alive)) == len(alive)
        assert not dead & set(alive)
        assert len([t for t in state.tracks if t.seen_ms == at_ms and t.box in seen]) >= len(set(seen))
        dead |= ever - set(alive)
        ever |= set(alive)
        assert all(at_ms - t.seen_ms <= SETTINGS.coast_ms for t in state.tracks)


@given(st.lists(st.tuples(boxes, st.integers(1, 3000)), max_size=8))
def test_the_same_frames_give_the_same_tracks(frames: list[tuple[list[Box], int]]):
    def run() -> TrackerState:
        state, at_ms = EMPTY, 0
        for seen, wait_ms in frames:
            at_ms += wait_ms
            state = step(state, seen, at_ms, SETTINGS)
        return state

    assert run() == run()


@given(st.tuples(coordinate, coordinate, size, size), st.tuples(coordinate, coordinate, size, size))
def test_iou_is_a_share_symmetric_and_one_for_itself(a: Box, b: Box):
    assert 0 <= iou(a, b) <= 1 + 1e-9
    assert abs(iou(a, b) - iou(b, a)) < 1e-9
    assert abs(iou(a, a) - 1) < 1e-6


def test_the_centre_of_a_box_is_halfway_across_and_down():
    assert tracker.centre((10, 20, 4, 6)) == (12, 23)
