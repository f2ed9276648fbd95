"""The script of the demo's scene, and that what is painted is what is scripted."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from heldard.demo import scene, video
from heldard.demo.paint import Painter
from heldard.errors import ConfigError


def test_there_are_ten_plates_or_more_all_different_and_of_one_format():
    plates = [vehicle.plate for vehicle in scene.VEHICLES]
    assert len(set(plates)) == len(plates) >= 10
    assert all(len(p) == 7 and p[:3].isalpha() and p[3:].isdigit() for p in plates)


def test_the_scene_is_empty_at_both_ends_so_that_it_can_loop():
    for at_s in (0.0, 1.0, 2.0, 3.0, scene.DURATION_S - 2, scene.DURATION_S):
        assert all(mover.ground(at_s) is None for mover in (*scene.VEHICLES, *scene.PEOPLE))
    painter = Painter()
    first, last = painter.frame(0), painter.frame(round(scene.DURATION_S * scene.FPS) - 1)
    assert np.abs(first.astype(int) - last.astype(int)).mean() < 4


def test_every_car_on_the_road_crosses_the_line_once_and_the_parked_one_not():
    crossings = scene.truth().crossings
    assert sorted(c.plate for c in crossings) == sorted(v.plate for v in scene.VEHICLES if v.plate != "PLC7350")
    directions = {v.plate: v.direction for v in scene.VEHICLES}
    assert all((c.direction == "ab") == (directions[c.plate] == "inbound") for c in crossings)


def test_every_person_stays_in_the_forecourt_once_and_only_the_parked_car_in_the_lay_by():
    stays = scene.truth().stays
    assert sorted(s.who for s in stays if s.zone == "forecourt") == sorted(p.name for p in scene.PEOPLE)
    parked = [s for s in stays if s.zone == "lay-by"]
    assert [s.who for s in parked] == ["PLC7350"]
    assert parked[0].exit_s - parked[0].enter_s > 8


def test_no_two_movers_come_so_near_that_they_would_look_like_one():
    for at_s in np.arange(0, scene.DURATION_S, 0.1):
        grounds = [(m, g) for m in (*scene.VEHICLES, *scene.PEOPLE) if (g := m.ground(float(at_s))) is not None]
        for (one, a), (other, b) in combinations(grounds, 2):
            reach = sum(130 if isinstance(m, scene.Vehicle) else 25 for m in (one, other)) * scene.depth(
                max(a[1], b[1])
            )
            assert abs(a[0] - b[0]) > reach or abs(a[1] - b[1]) > 280, (at_s, one, other)


def test_the_same_frame_is_painted_the_same_twice():
    assert np.array_equal(Painter().frame(100), Painter().frame(100))


def test_a_video_is_rendered_once_whole_and_with_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scene, "DURATION_S", 2.0)
    told: list[tuple[int, int]] = []
    made = video.video_for(tmp_path, lambda done, total: told.append((done, total)))
    capture = cv2.VideoCapture(str(made))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (24, scene.FPS)
    capture.release()
    assert told[-1] == (24, 24)
    assert video.truth_beside(made).exists()
    stamp = made.stat().st_mtime_ns
    assert video.video_for(tmp_path, lambda *_: told.append((-1, -1))) == made
    assert made.stat().st_mtime_ns == stamp
    assert (-1, -1) not in told
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".mp4"]


def test_an_encoder_that_fails_says_why_and_leaves_no_half_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scene, "DURATION_S", 1.0)
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no such encoder >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(video, "find_ffmpeg", lambda: str(broken))
    with pytest.raises(ConfigError, match="no such encoder"):
        video.video_for(tmp_path / "out", lambda *_: None)
    assert not list((tmp_path / "out").glob("*.mp4"))
