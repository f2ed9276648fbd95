"""The demo's words, and when it counts as failed."""

from __future__ import annotations

import tomllib
from collections import Counter, deque

import pytest

from heldard import config
from heldard.demo import site
from heldard.demo.runner import captured_of, free_port
from heldard.demo.tell import Tally, event_line, status_line, summary


def event(kind: str, severity: str = "info", **payload: object) -> dict[str, object]:
    return {"event_type": kind, "severity": severity, "camera_id": "yard", "timestamp": "2026-01-01T10:20:30.5Z",
            "payload": payload}  # fmt: skip


@pytest.mark.parametrize(
    ("happened", "line"),
    [
        (event("zone_enter", label="person", track_id="7", zone="forecourt"),
         "10:20:30  yard      person 7 enters forecourt"),
        (event("zone_dwell", "warning", label="car", zone="lay-by", dwell_seconds=8.2),
         "10:20:30  yard   !  car stays in lay-by for 8 s"),
        (event("entry_blocked", "critical", plate="XHM4579", event_type="vehicle_entry"),
         "10:20:30  yard   !! plate XHM4579 in  blocked"),
        (event("camera_online"), "10:20:30  yard      camera online"),
    ],
)  # fmt: skip
def test_an_event_is_told_in_one_line(happened: dict[str, object], line: str):
    assert event_line(happened) == line


def test_an_event_with_an_unknown_payload_is_told_too():
    assert "enters a zone" in event_line(event("zone_enter"))
    assert "no plate" in event_line(event("entry_unmatched", plate=None))


def test_the_status_line_shows_frames_batches_and_the_median_lag():
    tally = Tally(frames=10, batches=4, detections=9, lag_ms=deque([5, 500, 7]))
    line = status_line(tally, [{"camera_id": "gate", "state": "sampling", "observed_fps": 7.96}])
    assert line == "-- frames 10  batches 4  detections 9  lag 7 ms  [gate sampling 8.0/s]"


def full() -> Tally:
    return Tally(1, 1, 1, deque(), Counter(zone_enter=1, entry_matched=1), {"ABC1234"})


def test_a_run_in_which_everything_happened_lacks_nothing():
    assert full().lacking() == []


@pytest.mark.parametrize(
    ("without", "complaint"),
    [({"frames": 0}, "no frames were sampled"), ({"detections": 0}, "no detections were taken in"),
     ({"events": Counter(entry_matched=1)}, "no zone events happened"),
     ({"events": Counter(zone_enter=1)}, "no plate events happened")],
)  # fmt: skip
def test_a_run_in_which_something_did_not_happen_says_what(without: dict[str, object], complaint: str):
    tally = full()
    for name, value in without.items():
        setattr(tally, name, value)
    assert tally.lacking() == [complaint]
    assert f"FAILED: {complaint}" in summary(tally, ["ABC1234"], 30)


def test_the_summary_sets_plates_read_against_plates_drawn():
    tally = full()
    tally.plates |= {"ABC1234", "XX00"}
    words = summary(tally, ["ABC1234", "DEF5678"], 40)
    assert "1 of the 2 in the scene" in words
    assert "not in the scene  XX00" in words


def test_the_demo_writes_a_configuration_that_the_daemon_takes():
    settings = config.settle(tomllib.loads(site.config_text('/a "b"\\c', "/media", 8123)))
    assert (settings.store.data_dir, settings.sampler.media_dir) == ('/a "b"\\c', "/media")
    assert settings.server.port == 8123


def test_a_port_that_is_taken_gives_way_to_a_free_one():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        assert free_port(busy) != busy
    assert free_port(0) > 0


def test_the_capture_time_is_the_last_part_of_a_frame_id():
    assert captured_of("w:ai_1:1767225601000") == 1767225601000
    assert captured_of("x:2026-01-01T00:00:01Z") is None
    assert captured_of(None) is None
