"""States, the retry ladder and the watchdog, with time moved by hand."""

from __future__ import annotations

import random

import pytest

from heldard.sampler.decoder import Seen, classify
from heldard.sampler.health import GOOD_AFTER_S, JITTER, Health, Ladder
from heldard.sampler.strategy import choose


def health(now: float = 0) -> Health:
    return Health(now, Ladder(random.Random(1)), 20.0)


def test_the_ladder_is_five_times_1_s_five_times_5_s_ten_times_10_s_then_60_s_all_jittered() -> None:
    ladder = Ladder(random.Random(7))
    delays = [ladder.next_delay("refused") for _ in range(30)]
    for delay, rung in zip(delays, [1.0] * 5 + [5.0] * 5 + [10.0] * 10 + [60.0] * 10, strict=True):
        assert rung * (1 - JITTER) <= delay <= rung * (1 + JITTER)
    assert len(set(delays)) == 30
    ladder.reset()
    assert ladder.next_delay("refused") < 2


def test_a_wrong_password_is_not_tried_again_quickly() -> None:
    assert Ladder(random.Random(1)).next_delay("auth") > 40


def test_the_ladder_begins_anew_only_after_30_good_seconds() -> None:
    for good_s, expected in ((GOOD_AFTER_S - 1, 5.0), (GOOD_AFTER_S, 1.0)):
        stream = health()
        for _ in range(5):
            stream.ended(0, "lost", "")
            stream.retry(0)
        stream.started(0)
        stream.frame(0)
        stream.frame(good_s)
        stream.ended(good_s, "lost", "")
        assert stream.retry(good_s) == pytest.approx(expected, rel=JITTER)


def test_x4_a_stream_is_sampling_once_a_frame_came_and_not_before() -> None:
    stream = health()
    stream.started(0)
    assert stream.state == "connecting"
    stream.frame(1)
    assert (stream.state, stream.cause, stream.down_since) == ("sampling", None, None)


def test_what_was_said_of_the_last_failure_stands_until_there_are_frames_again() -> None:
    stream = health()
    stream.ended(1, "refused", "Connection refused")
    stream.started(2)
    assert (stream.state, stream.cause) == ("offline", "refused")
    stream.frame(3)
    assert (stream.state, stream.cause, stream.complaint) == ("sampling", None, "")


def test_what_cannot_be_started_is_an_error_and_not_offline() -> None:
    stream = health()
    stream.ended(1, "config", "no ffmpeg")
    assert stream.state == "error"


@pytest.mark.parametrize(("fps", "patience"), [(5.0, 20.0), (0.1, 50.0)])
def test_the_watchdog_waits_20_s_or_5_intervals_whichever_is_longer(fps: float, patience: float) -> None:
    stream = health()
    stream.started(0)
    stream.frame(1)
    assert not stream.overdue(1 + patience, fps)
    assert stream.overdue(1 + patience + 0.1, fps)


def test_the_watchdog_counts_from_the_start_of_a_new_decoder() -> None:
    stream = health()
    stream.started(0)
    stream.frame(1)
    stream.started(100)
    assert not stream.overdue(110, 5)
    assert stream.overdue(121, 5)


def test_silence_after_frames_is_a_stall_and_silence_from_the_start_is_offline() -> None:
    stream = health()
    stream.started(0)
    stream.stalled(21, "")
    assert (stream.state, stream.cause, stream.stalls) == ("offline", "timeout", 1)
    stream.started(22)
    stream.frame(23)
    stream.stalled(44, "")
    assert (stream.state, stream.cause, stream.stalls) == ("stalled", "timeout", 2)


def test_a_stream_is_down_since_its_last_frame_and_reconnecting_does_not_restart_the_count() -> None:
    stream = health()
    stream.started(0)
    stream.frame(5)
    stream.ended(8, "lost", "")
    stream.started(9)
    assert stream.down_for(15) == 10


def test_observed_fps_is_that_of_the_last_ten_seconds() -> None:
    stream = health()
    for tick in range(100):
        stream.frame(tick / 5)
    assert stream.observed_fps(20) == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize(
    ("code", "said", "cause"),
    [
        (1, "method DESCRIBE failed: 401 Unauthorized", "auth"),
        (1, "Server returned 403 Forbidden (access denied)", "auth"),
        (1, "method DESCRIBE failed: 404 Not Found\nrtsp://***@h/x: Server returned 404 Not Found", "not_found"),
        (1, "clip.mp4: No such file or directory", "not_found"),
        (1, "Connection to tcp://h:554 failed: Connection refused", "refused"),
        (1, "Connection to tcp://h:554 failed: No route to host", "unreachable"),
        (1, "Failed to resolve hostname h: Name or service not known", "unreachable"),
        (1, "rtsp://h/x: Connection timed out", "timeout"),
        (1, "rtsp://h/x: Operation timed out", "timeout"),
        (1, "Connection reset by peer", "lost"),
        (1, "method SETUP failed: 453 Not Enough Bandwidth", "busy"),
        (1, "HTTP error 503 Service Unavailable", "busy"),
        (1, "x.mp4: Invalid data found when processing input", "codec"),
        (1, "moov atom not found", "codec"),
        (1, "Stream map '0:v:0' matches no streams.", "codec"),
        (1, "Protocol 'http' not on whitelist 'file'!", "codec"),
        (0, "", "ended"),
        (-11, "", "decoder"),
        (1, "something nobody has seen", "decoder"),
    ],
)
def test_complaints_are_classified(code: int, said: str, cause: str) -> None:
    assert classify(code, said) == cause


def watched(gop_s: float, seconds: float, fps: int = 10) -> Seen:
    seen = Seen()
    for index in range(int(seconds * fps)):
        seen.packet(index / fps, 100, key=index % int(gop_s * fps) == 0)
    return seen


def test_what_a_stream_shows_is_its_rate_and_the_longest_recent_interval_between_keyframes() -> None:
    seen = watched(2.0, 10)
    assert seen.fps == pytest.approx(10)
    assert seen.gop_s == 2.0
    for index in range(100, 150):
        seen.packet(index / 10, 100, key=False)
    assert seen.gop_s == pytest.approx(6.9), "a keyframe that does not come counts as well"


def test_a_clock_of_the_source_that_is_set_back_starts_the_look_anew() -> None:
    seen = watched(1.0, 20)
    for index in range(30):
        seen.packet(index / 10, 100, key=index % 10 == 0)
    assert seen.fps == pytest.approx(10)
    assert seen.gop_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("now", "fps", "gop_s", "watched_s", "was_wrong", "then"),
    [
        ("full", 1, 1.0, 7, False, "keyframes"),
        ("full", 1, 1.0, 3, False, "full"),
        ("full", 1, 1.0, 60, True, "full"),
        ("full", 1, 1.0, 121, True, "keyframes"),
        ("full", 1, 1.2, 60, False, "full"),
        ("keyframes", 1, 1.2, 60, False, "keyframes"),
        ("keyframes", 1, 2.0, 60, False, "full"),
        ("full", 0.5, 2.0, 60, False, "keyframes"),
        ("full", 5, 1.0, 60, False, "full"),
    ],
)
def test_keyframes_are_chosen_where_they_suffice_and_left_where_they_do_not(
    now: str, fps: float, gop_s: float, watched_s: float, was_wrong: bool, then: str
) -> None:
    seen = watched(gop_s, 12)
    assert choose(now, fps, seen, watched_s, was_wrong=was_wrong) == then  # type: ignore[arg-type]
