"""Weekly hours, in a time zone with summer time."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from heldard_zones.engine.schedule import DAYS, Schedule, Window, load_timezone
from hypothesis import given
from hypothesis import strategies as st

from heldard.plugin import InvalidError

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(*windows, timezone="Europe/Berlin"):
    return Schedule(msgspec.convert(list(windows), tuple[Window, ...]), timezone)


def ms(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-01-05T21:59:59", False),  # a Monday
        ("2026-01-05T22:00", True),
        ("2026-01-06T05:59:59", True),
        ("2026-01-06T06:00", False),
        ("2026-01-06T23:00", False),
    ],
)
def test_a_night_belongs_to_the_day_it_begins_on(moment, is_open):
    assert schedule({"days": ["mon"], "from": "22:00", "to": "06:00"}).is_open(ms(moment)) is is_open


def test_the_end_is_not_included_and_may_be_midnight():
    day = schedule({"from": "18:00", "to": "24:00"})
    assert day.is_open(ms("2026-01-05T23:59:59"))
    assert not day.is_open(ms("2026-01-06T00:00"))


@pytest.mark.parametrize(("date", "hours"), [("2026-03-28", 7), ("2026-10-24", 9), ("2026-06-01", 8)])
def test_the_clock_on_the_wall_counts_when_summer_time_begins_and_ends(date, hours):
    night = schedule({"from": "22:00", "to": "06:00"})
    opens = ms(f"{date}T22:00")
    assert not night.is_open(opens - 1)
    assert night.next_change(opens - 1) == opens
    assert night.next_change(opens) - opens == hours * 3_600_000


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "days": st.lists(st.sampled_from(DAYS), min_size=1, unique=True),
                "from": st.sampled_from(["00:00", "02:30", "09:00", "22:15"]),
                "to": st.sampled_from(["03:00", "09:00", "17:00", "24:00"]),
            }
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 350 * 86_400),
)
def test_nothing_changes_before_the_next_change(windows, second):
    hours = schedule(*windows)
    at = ms("2026-01-01") + second * 1000
    change = hours.next_change(at)
    assert change > at
    step = max(1, (change - at) // 20)
    assert {hours.is_open(between) for between in range(at, change, step)} == {hours.is_open(at)}


def test_a_window_that_never_ends_is_always_open():
    always = schedule({"from": "00:00", "to": "24:00"})
    start = datetime(2026, 3, 27, tzinfo=BERLIN)
    assert all(always.is_open(round((start + timedelta(hours=n)).timestamp() * 1000)) for n in range(96))


def test_an_unknown_time_zone_is_named():
    with pytest.raises(InvalidError, match="Mars/Base"):
        load_timezone("Mars/Base")
