"""From lines of text to a plate."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.worker.plate_text import PlateText, TextLine, normalised, plate_of, plausible


@pytest.mark.parametrize(
    ("text", "plate"),
    [("abc 1234", "ABC1234"), ("W-XY 88.88", "WXY8888"), ("", ""), ("ÄB 123é", "B123"), ("·KA·01", "KA01")],
)
def test_p1_a_plate_is_ascii_letters_and_digits_in_upper_case(text: str, plate: str):
    assert normalised(text) == plate


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("ABC1234", True), ("WA12B", True), ("ABCDEFGHI1", True), ("1234", False), ("ABCDE", False), ("A1", False),
     ("ABCDEFGHIJ1", False), ("abc123", False)],
)  # fmt: skip
def test_p2_a_plausible_plate_has_3_to_10_characters_a_letter_and_a_digit(text: str, verdict: bool):
    assert plausible(text) is verdict


@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(text: str):
    once = normalised(text)
    assert normalised(once) == once
    assert re.fullmatch("[A-Z0-9]*", once)


def test_the_surest_line_that_could_be_a_plate_wins():
    lines = [TextLine("TAXI", 0.99), TextLine("ab-123", 0.7), TextLine("XY 987", 0.9), TextLine("0800 555", 0.95)]
    assert plate_of(lines) == PlateText("XY987", 0.9)


def test_no_line_that_could_be_a_plate_gives_none():
    assert plate_of([TextLine("TAXI", 0.99), TextLine("12", 0.9)]) is None
    assert plate_of([]) is None


def test_a_pattern_rules_out_what_does_not_match_it_whole():
    lines = [TextLine("AB123", 0.9), TextLine("ABC1234", 0.6)]
    assert plate_of(lines, re.compile("[A-Z]{3}[0-9]{4}")) == PlateText("ABC1234", 0.6)


def test_confidences_stay_with_their_characters_when_others_are_dropped():
    line = TextLine("a-1b", 0.8, (("a", 0.9), ("-", 0.1), ("1", 0.7), ("b", 0.6)))
    assert plate_of([line]) == PlateText("A1B", 0.8, (0.9, 0.7, 0.6))


def test_confidences_that_do_not_add_up_to_the_text_are_left_out():
    assert plate_of([TextLine("AB12", 0.8, (("A", 0.9), ("1", 0.7)))]) == PlateText("AB12", 0.8, ())


@given(st.lists(st.builds(TextLine, st.text(max_size=14), st.floats(0, 1)), max_size=6))
def test_whatever_is_read_as_a_plate_is_plausible(lines: list[TextLine]):
    plate = plate_of(lines)
    assert plate is None or plausible(plate.text)
