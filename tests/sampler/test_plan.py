"""The sharing of the budget, as properties and as upstream's worked cases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.sampler.model import SampledTask, Size, StreamKey
from heldard.sampler.plan import FLOOR_FPS, FLOOR_WIDTH, Wish, ladder, merge, plan, price

EPSILON = 1e-6

sizes = st.none() | st.builds(Size, st.integers(64, 7680), st.integers(64, 4320))


@st.composite
def wish_lists(draw: st.DrawFn) -> list[Wish]:
    count = draw(st.integers(0, 12))
    return [
        Wish(
            StreamKey(f"cam{index:02d}", "sub"),
            draw(st.integers(1, 3)) * 50,
            draw(st.floats(0.1, 30)),
            draw(st.integers(160, 3840)),
            draw(sizes),
        )
        for index in range(count)
    ]


budgets = st.floats(0, 120)


def wish(name: str, fps: float, width: int, priority: int = 100, source: Size | None = None) -> Wish:
    return Wish(StreamKey(name, "sub"), priority, fps, width, source)


def granted(wishes: list[Wish], budget: float) -> list[tuple[float, int]]:
    grants = plan(wishes, budget)
    return [(grants[one.key].fps, grants[one.key].width) for one in wishes]


@given(wish_lists(), budgets)
def test_the_cost_of_all_grants_is_never_above_the_budget(wishes: list[Wish], budget: float) -> None:
    assert sum(grant.cost for grant in plan(wishes, budget).values()) <= budget + EPSILON


@given(wish_lists(), budgets)
def test_a_grant_costs_its_rate_times_the_price_of_its_picture(wishes: list[Wish], budget: float) -> None:
    for one in wishes:
        grant = plan(wishes, budget)[one.key]
        expected = grant.fps * price(grant.width, one.source) if grant.fps else 0
        assert grant.cost == pytest.approx(expected)


@given(wish_lists(), budgets)
def test_nobody_gets_more_than_was_asked_for_nor_more_pixels_than_the_source_has(
    wishes: list[Wish], budget: float
) -> None:
    for one in wishes:
        grant = plan(wishes, budget)[one.key]
        assert grant.fps <= one.fps + EPSILON
        assert grant.width <= one.width
        assert one.source is None or grant.width <= one.source.width


@given(wish_lists(), budgets)
def test_nobody_is_shed_while_somebody_of_lower_priority_is_served(wishes: list[Wish], budget: float) -> None:
    grants = plan(wishes, budget)
    shed = [one.priority for one in wishes if grants[one.key].level == 0]
    served = [one.priority for one in wishes if grants[one.key].level > 0]
    assert not shed or not served or max(shed) <= min(served)


@given(wish_lists(), budgets)
def test_nobody_rises_above_the_floor_while_anybody_is_shed(wishes: list[Wish], budget: float) -> None:
    levels = [grant.level for grant in plan(wishes, budget).values()]
    assert 0 not in levels or max(levels) <= 1


@given(wish_lists(), budgets)
def test_a_lower_priority_rises_above_the_floor_only_when_all_higher_ones_are_satisfied(
    wishes: list[Wish], budget: float
) -> None:
    grants = plan(wishes, budget)
    for low in wishes:
        if grants[low.key].level > 1:
            higher = [grants[one.key] for one in wishes if one.priority > low.priority]
            assert all(grant.level == grant.levels for grant in higher)


@given(wish_lists(), budgets)
def test_equals_are_within_one_step_of_each_other_unless_one_has_all_it_wants(
    wishes: list[Wish], budget: float
) -> None:
    grants = plan(wishes, budget)
    for one in wishes:
        for other in wishes:
            mine, theirs = grants[one.key], grants[other.key]
            if one.priority == other.priority and mine.level < mine.levels:
                assert theirs.level <= mine.level + 1


@given(st.data(), wish_lists(), budgets)
def test_the_order_of_the_wishes_does_not_matter(data: st.DataObject, wishes: list[Wish], budget: float) -> None:
    assert plan(data.draw(st.permutations(wishes)), budget) == plan(wishes, budget)


@given(wish_lists(), budgets, budgets)
def test_a_larger_budget_takes_nothing_from_anybody(wishes: list[Wish], one: float, other: float) -> None:
    less, more = (plan(wishes, budget) for budget in sorted((one, other)))
    for key, grant in less.items():
        assert more[key].level >= grant.level
        assert more[key].fps >= grant.fps
        assert more[key].width >= grant.width


@given(wish_lists())
def test_levels_rise_in_cost_and_end_with_the_whole_wish(wishes: list[Wish]) -> None:
    for one in wishes:
        levels = ladder(one)
        costs = [level.cost for level in levels]
        assert costs == sorted(costs)
        assert levels[-1].fps == pytest.approx(one.fps)
        assert levels[-1].width == (one.width if one.source is None else min(one.width, one.source.width))
        assert levels[1].fps == min(FLOOR_FPS, one.fps)
        assert levels[1].width <= FLOOR_WIDTH


@given(wish_lists())
def test_a_budget_that_pays_for_everything_grants_everything(wishes: list[Wish]) -> None:
    enough = sum(ladder(one)[-1].cost for one in wishes) + EPSILON
    assert all(grant.level == grant.levels for grant in plan(wishes, enough).values())


# Upstream's inputs (statements V1..V13), and what they give here. Its unit is a frame of the width asked for, ours one
# of 1280x720, so a width of 640 costs a quarter.


def test_v1_the_first_priority_is_served_first_and_the_others_keep_their_share() -> None:
    wishes = [wish("a", 10, 640, 300), wish("b", 5, 640, 200), wish("c", 5, 640, 100)]
    assert granted(wishes, 10 / 4) == [(9.75, 640), (0.5, 320), (0.5, 320)]


def test_v2_v10_equals_share_a_small_budget_equally() -> None:
    assert granted([wish(name, 2, 640) for name in "abcd"], 1.4 / 4) == [(0.5, 640)] * 2 + [(0.5, 320)] * 2
    assert granted([wish(name, 5, 1280) for name in "abcd"], 1.0) == [(0.5, 1280)] + [(0.5, 640)] * 3


def test_v3_what_the_budget_cannot_carry_is_shed_from_the_last() -> None:
    assert granted([wish(name, 2, 640) for name in "abcd"], 0.3 / 4) == [(0.5, 320), (0.5, 320), (0.0, 0), (0.0, 0)]


def test_v5_a_width_is_halved_before_anybody_is_shed() -> None:
    assert granted([wish("a", 2, 480), wish("b", 2, 480)], 0.73 * (480 / 1280) ** 2) == [(0.5, 480), (0.5, 320)]


def test_v6_what_fits_is_granted_whole() -> None:
    assert granted([wish(f"c{i}", 5, 1280) for i in range(8)], 40) == [(5, 1280)] * 8


def test_v7_the_ninth_of_nine_equals_gets_as_much_as_the_others_to_a_step() -> None:
    rates = [fps for fps, _ in granted([wish(f"c{i}", 5, 1280) for i in range(9)], 40)]
    assert set(rates) == {4.25, 4.5}
    assert sum(rates) == 40


def test_v8_a_hundred_equals_all_run_and_a_higher_priority_among_them_runs_in_full() -> None:
    crowd = [wish(f"c{i:03d}", 5, 1280) for i in range(100)]
    assert all(fps == 0.5 and width >= 640 for fps, width in granted(crowd, 40))
    assert granted([*crowd, wish("gate", 5, 1280, 200)], 40)[-1] == (5, 1280)


def test_v9_a_rate_below_the_floor_is_not_raised() -> None:
    assert granted([wish("a", 0.1, 640), wish("b", 30, 640)], 40) == [(0.1, 640), (30, 640)]


def test_v11_no_lower_priority_runs_while_a_higher_one_is_shed() -> None:
    wishes = [wish(name, 2, 320, 400 - 100 * i) for i, name in enumerate("abcd")]
    assert [fps for fps, _ in granted(wishes, 2.5 / 32)] == [0.5, 0.5, 0, 0]


def test_v13_stepping_down_never_enlarges_a_small_wish() -> None:
    assert all(width == 200 for _, width in granted([wish(name, 2, 200) for name in "abc"], 1.2))


def test_a_shed_stream_says_what_to_do_and_a_small_source_why_it_is_small() -> None:
    key = StreamKey("a", "sub")
    assert "sampler.max_total_fps" in plan([wish("a", 5, 1280)], 0)[key].reason
    small = plan([wish("a", 5, 1280, source=Size(640, 360))], 40)[key]
    assert (small.width, "640 px" in small.reason) == (640, True)


def test_s1_tasks_of_one_stream_are_merged_to_the_highest_rate_and_width() -> None:
    tasks = [
        SampledTask(camera_id="a", profile="sub", fps=2, width=1280, url="rtsp://h/1"),
        SampledTask(camera_id="a", profile="sub", fps=5, width=640, url="rtsp://h/1"),
        SampledTask(camera_id="a", profile="main", fps=1, width=320, priority=7),
    ]
    assert merge(tasks, {StreamKey("a", "sub"): Size(1920, 1080)}) == [
        Wish(StreamKey("a", "sub"), 100, 5, 1280, Size(1920, 1080)),
        Wish(StreamKey("a", "main"), 7, 1, 320),
    ]
