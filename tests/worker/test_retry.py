"""Waits before asking again."""

from __future__ import annotations

from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.clock import from_ms
from heldard.worker.retry import LONGEST_RETRY_AFTER_S, Backoff, parse_retry_after

NOW_MS = 1_750_000_000_000


def test_waits_double_up_to_the_cap():
    backoff = Backoff(base_s=0.5, cap_s=15, jitter=0.25)
    assert [backoff.delay_s(n, chance=0.0) for n in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_wait_is_bounded_and_never_shorter_than_asked_for(attempt: int, chance: float, asked: float | None):
    delay = Backoff().delay_s(attempt, chance, asked)
    assert min(asked or 0, LONGEST_RETRY_AFTER_S) <= delay <= max(15.0, LONGEST_RETRY_AFTER_S) * 1.25


def test_both_forms_of_retry_after_are_read():
    assert parse_retry_after("7", NOW_MS) == 7
    assert parse_retry_after(format_datetime(from_ms(NOW_MS + 30_000), usegmt=True), NOW_MS) == 30
    assert parse_retry_after(format_datetime(from_ms(NOW_MS - 30_000), usegmt=True), NOW_MS) == 0


@pytest.mark.parametrize("value", [None, "", "soon", "-3", "1.5", "٣", "9" * 400, "Sun, 99 Nov 2026"])
def test_a_retry_after_that_says_nothing_is_none(value: str | None):
    assert parse_retry_after(value, NOW_MS) is None


@given(st.text(max_size=60))
def test_no_retry_after_header_breaks_the_reading(value: str):
    seconds = parse_retry_after(value, NOW_MS)
    assert seconds is None or seconds >= 0
