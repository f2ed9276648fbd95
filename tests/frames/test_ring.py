"""Frames in memory: order, bounds, waiting."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.frames.ring import FrameRings
from heldard.plugin import Frame


class HandClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now_ms(self) -> int:
        return int(self.at * 1000)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def rings(clock: HandClock | None = None, seconds: float = 10, ring: int = 1000, total: int = 5000) -> FrameRings:
    return FrameRings(clock or HandClock(), seconds=seconds, ring_bytes=ring, total_bytes=total)


def frame(ms: int, *, camera: str = "a", profile: str = "sub", size: int = 10) -> Frame:
    return Frame(f"{camera}:{profile}:{ms}", camera, profile, ms, 1, 4, 3, b"x" * size)


@given(st.lists(st.tuples(st.sampled_from(["sub", "main"]), st.integers(1, 30)), max_size=40))
def test_capture_times_rise_within_a_stream_and_name_one_frame_within_a_camera(puts: list[tuple[str, int]]) -> None:
    held = rings()
    taken = [held.put(frame(ms, profile=profile)) for profile, ms in puts]
    for profile in ("sub", "main"):
        times = [one.captured_ms for one in taken if one.profile == profile]
        assert times == sorted(set(times))
    assert len({one.captured_ms for one in taken}) == len(taken)
    for one in taken:
        assert one.frame_id == f"a:{one.profile}:{one.captured_ms}"
        assert held.find("a", one.captured_ms) is one


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 400), st.floats(0, 3)), max_size=60))
def test_bounds_in_seconds_bytes_and_total_bytes_hold_after_every_put(puts: list[tuple[str, int, float]]) -> None:
    clock = HandClock()
    held = rings(clock, seconds=5, ring=900, total=1600)
    everything: dict[str, list[tuple[float, Frame]]] = {}
    for camera, size, wait_s in puts:
        clock.at += wait_s
        taken = held.put(frame(clock.now_ms(), camera=camera, size=size))
        everything.setdefault(camera, []).append((clock.at, taken))
        assert held.latest(camera, "sub") is taken
        kept = {
            name: [one for at, one in frames if held.find(name, one.captured_ms) is not None]
            for name, frames in everything.items()
        }
        assert held.size_bytes == sum(len(one.jpeg) for frames in kept.values() for one in frames) <= 1600
        assert sum(len(one.jpeg) for one in kept[camera]) <= 900
        assert all(at >= clock.at - 5 for at, one in everything[camera] if one in kept[camera])
        for name, frames in everything.items():
            assert kept[name] == [one for _, one in frames][-len(kept[name]) :], "the oldest go first"


def test_the_newest_frame_of_a_silent_stream_stays_and_shows_its_age() -> None:
    clock = HandClock()
    held = rings(clock)
    held.put(frame(1))
    clock.at += 100
    held.expire()
    assert held.latest("a", "sub") is not None
    assert held.age_s("a", "sub") == 100


def test_a_closed_stream_has_no_current_frame_but_its_evidence_can_be_found_for_a_while() -> None:
    clock = HandClock()
    held = rings(clock, seconds=10)
    taken = held.put(frame(1))
    held.close("a", "sub")
    assert held.latest("a", "sub") is None
    assert held.age_s("a", "sub") is None
    assert held.find("a", 1) is taken
    clock.at += 11
    held.expire()
    assert held.find("a", 1) is None
    assert held.size_bytes == 0


def test_forgetting_a_camera_drops_its_frames_and_no_other() -> None:
    held = rings()
    for camera, profile in (("a", "sub"), ("a", "main"), ("b", "sub")):
        held.put(frame(5, camera=camera, profile=profile))
    held.forget("a")
    assert held.find("a", 5) is None
    assert held.find("a", 6) is None
    assert held.find("b", 5) is not None


def test_age_is_measured_on_the_monotonic_clock_so_that_setting_the_wall_clock_back_makes_no_frame_young() -> None:
    clock = HandClock()
    held = rings(clock)
    held.put(frame(10_000_000))
    clock.at += 3
    second = held.put(frame(5_000))
    assert second.captured_ms == 10_000_001
    clock.at += 2
    assert held.age_s("a", "sub") == 2


def test_a_frame_without_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="no bytes"):
        rings().put(frame(1, size=0))


async def test_all_who_wait_are_woken_by_the_next_frame_and_only_by_one_that_is_new_to_them() -> None:
    held = rings()
    held.put(frame(10))
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(held.wait_next("a", "sub", after, 5)) for after in (10, 10, 11)]
        at_once = group.create_task(held.wait_next("a", "sub", 9, 5))
        await asyncio.wait([at_once])  # the others were begun before it and wait by now
        held.put(frame(11))
        await asyncio.wait(waiting[:2])
        assert not waiting[2].done()
        held.put(frame(12))
    assert [one.result().captured_ms for one in (at_once, *waiting)] == [10, 11, 11, 12]  # type: ignore[union-attr]


async def test_waiting_ends_without_a_frame_and_leaves_nothing_behind() -> None:
    held = rings()
    assert await held.wait_next("nobody", "sub", 0, 0.01) is None
    held.expire()
    assert held._rings == {}


async def test_one_waiter_that_gives_up_takes_nothing_from_the_others() -> None:
    held = rings()
    async with asyncio.TaskGroup() as group:
        patient = group.create_task(held.wait_next("a", "sub", 0, 5))
        assert await held.wait_next("a", "sub", 0, 0.01) is None
        held.put(frame(1))
    assert patient.result() is not None


def test_a_frame_ahead_of_both_the_newest_and_the_clock_is_of_an_earlier_run() -> None:
    clock = HandClock()
    held = rings(clock)
    now_ms = clock.now_ms()
    assert held.may_have_given("a", "sub", now_ms)
    assert not held.may_have_given("a", "sub", now_ms + 1)
    newest = held.put(frame(now_ms + 5000))
    assert held.may_have_given("a", "sub", newest.captured_ms), "the clock was set back under a running stream"
    assert not held.may_have_given("a", "sub", newest.captured_ms + 1)
    assert not held.may_have_given("a", "main", newest.captured_ms)
