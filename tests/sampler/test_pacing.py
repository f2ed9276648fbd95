"""Which packets are decoded: as few as will do, and never fewer."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.sampler.pacing import KEYLESS_S, Pacing


def play(
    fps: float, source_fps: int, gop: int, seconds: float, pacing: Pacing | None = None
) -> tuple[list[float], int]:
    """Times of the pictures kept, and how many packets were decoded, of a stream with a keyframe every `gop`th."""
    pacing = pacing or Pacing(fps)
    kept: list[float] = []
    decoded = 0
    decodable = False
    for index in range(int(source_fps * seconds)):
        at, key = index / source_fps, index % gop == 0
        verdict = pacing.packet(at, key=key)
        if verdict.decode:
            assert key or decodable, "a picture was decoded whose forerunners were skipped"
            decoded += 1
        decodable = verdict.decode and not verdict.last
        if verdict.keep:
            assert verdict.decode
            kept.append(at)
    return kept, decoded


@given(st.floats(0.1, 15), st.integers(5, 30), st.integers(1, 100))
def test_pictures_come_at_the_rate_asked_for_whatever_the_keyframe_interval(
    fps: float, source_fps: int, gop: int
) -> None:
    seconds = 20 + 20 * gop / source_fps
    kept, _ = play(fps, source_fps, gop, seconds)
    wanted = min(fps, source_fps)
    assert len(kept) <= wanted * seconds + 2, "never above the rate"
    assert len(kept) >= 0.8 * wanted * seconds - 2
    gaps = [later - earlier for earlier, later in pairwise(kept)]
    assert all(gap <= 1.8 / wanted + 2 / source_fps for gap in gaps)


@pytest.mark.parametrize(
    ("fps", "source_fps", "gop", "most"),
    [
        (1, 25, 25, 1 / 25), (0.5, 25, 50, 1 / 50), (1, 25, 50, 26 / 50), (2, 25, 50, 38 / 50), (5, 25, 50, 46 / 50),
        (1, 15, 15, 1 / 15), (0.1, 25, 50, 1 / 250),
    ],
)  # fmt: skip
def test_no_more_is_decoded_than_up_to_the_last_picture_wanted_of_a_group(
    fps: float, source_fps: int, gop: int, most: float
) -> None:
    _, first = play(fps, source_fps, gop, 10 * gop / source_fps)
    _, whole = play(fps, source_fps, gop, 60 * gop / source_fps)
    assert (whole - first) / (50 * gop) <= most * 1.1


def test_longer_groups_than_before_cost_at_most_one_gap_and_are_then_known() -> None:
    pacing = Pacing(1)
    play(1, 25, 25, 10, pacing)
    kept = [at for index in range(250, 2000) if pacing.packet(at := index / 25, key=index % 100 == 50).keep]
    gaps = [later - earlier for earlier, later in pairwise(kept)]
    assert max(gaps) <= 4.1
    assert max(gaps[5:]) <= 1.3


def test_a_stream_without_keyframes_is_decoded_whole_after_a_while() -> None:
    pacing = Pacing(1)
    verdicts = [pacing.packet(index / 10, key=False) for index in range(int(KEYLESS_S * 10) + 30)]
    assert not any(verdict.decode for verdict in verdicts[: int(KEYLESS_S * 10)])
    assert all(verdict.decode for verdict in verdicts[-20:])


def test_a_clock_that_is_set_back_does_not_silence_the_stream() -> None:
    pacing = Pacing(1)
    play(1, 25, 25, 3600, pacing)
    kept, _ = play(1, 25, 25, 10, pacing)
    assert len(kept) >= 9


def test_another_rate_holds_from_the_next_picture_on() -> None:
    pacing = Pacing(0.1)
    play(0.1, 25, 25, 21, pacing)
    pacing.set_fps(5)
    times = [at for index in range(525, 650) if pacing.packet(at := index / 25, key=index % 25 == 0).keep]
    assert times[0] < 22.1
    assert len(times) >= 20
