"""The plate detector: rationed readings, directions, and real reading of drawn plates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from heldard.worker.detector import Picture
from heldard.worker.motion import Pixels
from heldard.worker.plate_text import TextLine
from heldard.worker.plates import PlateDetector, crop_of, heading
from heldard.worker.reader import shared_reader
from heldard.worker.tracker import Track

Watch = Callable[..., Iterator[Picture]]


class Recited:
    """A reader that says what it is told, and counts."""

    def __init__(self, *lines: TextLine) -> None:
        self.lines, self.asked = list(lines), 0

    def read(self, bgr: Pixels) -> list[TextLine]:
        assert bgr.size > 0
        self.asked += 1
        return self.lines


def test_readings_are_rationed_and_settle(watch: Watch):
    reader = Recited(TextLine("KBD4081", 0.9))
    detector = PlateDetector({"read_interval_ms": 400, "settled_reads": 2, "settled_interval_ms": 60_000}, reader)
    found = [d for p in watch(2, 5.9, fps=8, width=1280) for d in detector.detect(p)]
    assert Counter(d.attributes.get("plate") for d in found) == {"KBD4081": 2, None: len(found) - 2}
    assert reader.asked == 2


def test_a_line_of_poor_confidence_is_not_a_reading(watch: Watch):
    detector = PlateDetector({"min_plate_confidence": 0.8}, Recited(TextLine("KBD4081", 0.79)))
    found = [d for p in watch(2, 5.9, width=1280) for d in detector.detect(p)]
    assert found
    assert not any("plate" in d.attributes for d in found)


def test_where_the_plate_is_comes_out_in_shares_of_the_whole_picture(watch: Watch):
    line = TextLine("KBD4081", 0.9, tuple((c, 0.9) for c in "KBD4081"), box=(10, 20, 64, 18))
    detector = PlateDetector({}, Recited(line))
    found = [d for p in watch(2, 5.9, width=1280) for d in detector.detect(p) if "plate" in d.attributes]
    x, y, w, h = found[0].attributes["plate_bbox"]
    assert (w, h) == (pytest.approx(64 / 1280, abs=1e-5), pytest.approx(18 / 720, abs=1e-5))
    assert found[0].bbox is not None
    assert abs(x - found[0].bbox[0]) < 0.05
    assert abs(y - found[0].bbox[1]) < 0.06
    assert found[0].attributes["plate_char_confidences"] == [0.9] * 7


def test_people_are_not_read(watch: Watch):
    reader = Recited(TextLine("AB123", 0.9))
    detector = PlateDetector({}, reader)
    found = [d for p in watch(42.5, 46, width=1280) for d in detector.detect(p)]
    assert found == []
    assert reader.asked == 0


def track(x0: float, y0: float, x1: float, y1: float) -> Track:
    return Track(1, (x1, y1, 40, 40), 0, 0, origin=(x0, y0, 40, 40))


def test_direction_follows_the_motion_and_waits_until_it_shows():
    assert heading(track(0, 0, 0, 30), "down") == "inbound"
    assert heading(track(0, 90, 0, 30), "down") == "outbound"
    assert heading(track(0, 0, 30, 0), "left") == "outbound"
    assert heading(track(0, 0, 30, 0), "right") == "inbound"
    assert heading(track(0, 30, 0, 0), "up") == "inbound"
    assert heading(track(0, 0, 9, 9), "down") is None


def test_a_fixed_direction_is_told_whatever_the_motion(watch: Watch):
    detector = PlateDetector({"direction": "outbound"}, Recited())
    found = [d for p in watch(2, 5.9, width=1280) for d in detector.detect(p)]
    assert {d.attributes["direction"] for d in found} == {"outbound"}


def test_a_pattern_that_is_none_is_refused_naming_the_key():
    with pytest.raises(ValueError, match="plate_pattern"):
        PlateDetector({"plate_pattern": "(("}, Recited())


def test_a_crop_stays_within_the_picture():
    assert crop_of((0.0, 0.5, 0.5, 0.5), 100, 80) == (0, 38, 53, 80)


def test_drawn_plates_are_read_exactly_and_offline(watch: Watch, monkeypatch: pytest.MonkeyPatch):
    """The real library on two cars of the scene, one each way; sockets are refused meanwhile."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("reading plates must not need a network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    detector = PlateDetector({"settled_reads": 3}, shared_reader())
    read: dict[str, Counter[str]] = {}
    for picture in watch(2, 8.5, width=1280):
        for found in detector.detect(picture):
            if "plate" in found.attributes:
                key = f"{found.track_id} {found.attributes['direction']}"
                read.setdefault(key, Counter())[found.attributes["plate"]] += 1
                assert len(found.attributes["plate_char_confidences"]) == len(found.attributes["plate"])
    assert [set(texts) for texts in read.values()] == [{"KBD4081"}, {"MXT8823"}]
    assert [key.split()[1] for key in read] == ["inbound", "outbound"]
