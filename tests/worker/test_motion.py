"""The motion detector on painted pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import msgspec
import numpy as np
import pytest

from heldard.worker.detector import Detection, Picture, PictureError
from heldard.worker.motion import MotionDetector, blobs, rounded

START_MS = 1_750_000_000_000
Watch = Callable[..., Iterator[Picture]]


def tracks(found: list[list[Detection]]) -> dict[str, list[Detection]]:
    by_track: dict[str, list[Detection]] = {}
    for detection in (d for frame in found for d in frame):
        by_track.setdefault(str(detection.track_id), []).append(detection)
    return by_track


def test_each_mover_of_the_scene_is_one_track_with_the_right_label(watch: Watch):
    detector = MotionDetector({})
    found = tracks([list(detector.detect(p)) for p in watch(0, 12.9)])
    assert sorted(tuple({d.label for d in seen}) for seen in found.values()) == [("car",)] * 4 + [("person",)]
    assert all(d.confidence > 0.5 for seen in found.values() for d in seen)


def test_boxes_lie_on_what_moves(watch: Watch):
    detector = MotionDetector({})
    last = [list(detector.detect(p)) for p in watch(0, 7.4)][-1]
    person = next(d for d in last if d.label == "person")
    assert person.bbox is not None
    x, y, w, h = person.bbox
    # anna at 7.2 s: her ground point by the script, within a few pixels
    assert abs(x + w / 2 - 1127 / 1280) < 0.02
    assert abs(y + h - 296 / 720) < 0.04


def test_an_empty_scene_gives_nothing(watch: Watch):
    detector = MotionDetector({})
    assert all(not detector.detect(p) for p in watch(0, 3.4))


def test_something_parked_is_still_reported_until_hold_s_is_over(watch: Watch):
    parked = {"patient": MotionDetector({}), "hasty": MotionDetector({"hold_s": 3})}
    seen = {
        name: [any(0.05 < (d.bbox or (0,))[0] < 0.2 for d in detector.detect(p)) for p in watch(7, 23.5, 5)]
        for name, detector in parked.items()
    }
    assert seen["patient"][-1] is True
    assert seen["hasty"][-1] is False
    assert any(seen["hasty"])


@pytest.mark.parametrize(("from_s", "fps"), [(21.4, 6), (12.0, 5), (15.0, 8)])
def test_what_stood_there_when_learning_began_leaves_no_ghost(watch: Watch, from_s: float, fps: float):
    """The background is learned with the parked car in it; when it drives off, the bare road is the news."""
    detector = MotionDetector({})
    last = [list(detector.detect(p)) for p in watch(from_s, 34.4, fps)][-1]
    assert not [d for d in last if d.bbox is not None and d.bbox[0] < 0.25]


def test_another_picture_size_starts_over_without_reusing_identities(watch: Watch):
    detector = MotionDetector({})
    before = tracks([list(detector.detect(p)) for p in watch(2, 6, width=640)])
    after = tracks([list(detector.detect(p)) for p in watch(8.8, 13.5, width=480)])
    assert before
    assert after
    assert not before.keys() & after.keys()


def test_times_that_run_backwards_do_no_harm(watch: Watch):
    detector = MotionDetector({})
    pictures = list(watch(2, 6))
    for picture in pictures:
        detector.detect(picture)
    late = Picture("cam", START_MS - 60_000, pictures[-1].jpeg)
    assert isinstance(detector.detect(late), list)


@pytest.mark.parametrize("config", [{"min_area": 2}, {"analysis_width": "wide"}, {"hold_s": 0}])
def test_a_config_out_of_range_is_refused_naming_the_key(config: dict[str, object]):
    with pytest.raises(msgspec.ValidationError, match=next(iter(config))):
        MotionDetector(config)


def test_keys_it_does_not_know_are_ignored():
    assert MotionDetector({"post_empty": False, "weights": "x"}).settings.min_area == 0.003


def test_bytes_that_are_no_picture_are_said_to_be_none():
    with pytest.raises(PictureError, match="camera cam"):
        MotionDetector({}).detect(Picture("cam", START_MS, b"\xff\xd8 not a picture"))


def test_blobs_within_a_larger_one_are_part_of_it():
    mask = np.zeros((100, 100), np.uint8)
    cv2.rectangle(mask, (10, 10), (60, 60), 255, 3)
    cv2.rectangle(mask, (30, 30), (40, 40), 255, -1)
    cv2.rectangle(mask, (80, 80), (95, 95), 255, -1)
    assert [(b[0], b[1]) for b in blobs(mask, 0.003)] == [(8.0, 8.0), (80.0, 80.0)]


def test_boxes_are_clamped_to_the_picture():
    assert rounded((-0.1, 0.5, 0.4, 0.7)) == (0.0, 0.5, 0.4, 0.5)
