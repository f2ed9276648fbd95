"""Times as text: what is read can be written again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.api.paging import page_cursor, read_cursor
from heldard.clock import parse_rfc3339, rfc3339


@given(st.datetimes(timezones=st.timezones()), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_every_time_that_is_read_can_be_shown_and_paged_from(moment: object, offset_min: int) -> None:
    sign, minutes = "-" if offset_min < 0 else "+", abs(offset_min)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}".zfill(19) + f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    try:
        ms = parse_rfc3339(text)
    except ValueError:
        return
    assert parse_rfc3339(rfc3339(ms)) == ms
    assert read_cursor(page_cursor(ms, 1), 2) == [ms, 1]


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_utc_cannot_write_is_refused_and_not_failed_on_later(text: str) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        parse_rfc3339(text)


def test_the_first_and_the_last_moment_are_times() -> None:
    for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"):
        assert rfc3339(parse_rfc3339(text)) == text
