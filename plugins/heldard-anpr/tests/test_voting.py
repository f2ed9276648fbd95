"""From readings to a plate."""

from __future__ import annotations

import itertools

import pytest
from heldard_anpr.engine.voting import Ballot, Consensus, Vote, decide, edit_distance, same_plate
from heldard_anpr.plates.formats import Formats, formats
from hypothesis import given, settings
from hypothesis import strategies as st

GB = Ballot(formats(("GB",)))


def vote(text: str, confidence: float = 0.95, weight: float = 1.0, **chars: float) -> Vote:
    return Vote(text, confidence, tuple(chars.get(c, confidence) for c in text), weight)


def decided(*votes: Vote, ballot: Ballot | None = None) -> Consensus:
    found = decide(votes, ballot or Ballot())
    assert found is not None
    return found


def test_nothing_is_decided_from_nothing() -> None:
    assert decide([], Ballot()) is None


def test_each_character_is_won_on_its_own() -> None:
    found = decided(vote("A8C1234"), vote("ABC1Z34"), vote("ABC123A"))
    assert found.plate == "ABC1234"
    assert found.votes == 2.0
    assert [column.votes for column in found.columns][1] == {"8": 1.0, "B": 2.0}


@pytest.mark.parametrize("odd", ["BC1234", "ABC124", "ABC123", "AABC1234", "ABCX1234", "ABC12345"])
def test_a_lost_or_an_extra_character_has_its_own_column(odd: str) -> None:
    for order in itertools.permutations([odd, "ABC1234", "ABC1234"]):
        found = decided(*map(vote, order))
        assert found.plate == "ABC1234"
        assert len(found.members) == 3


def test_the_surer_character_wins_against_more_unsure_ones() -> None:
    found = decided(vote("ABC1234", 0.97), vote("A8C1234", 0.97, **{"8": 0.3}), vote("A8C1234", 0.97, **{"8": 0.3}))
    assert found.plate == "ABC1234"


def test_one_hallucination_of_full_confidence_does_not_outvote_two_good_reads() -> None:
    assert decided(vote("ABC1234", 1.0, **{"1": 1.0}), vote("ABC7234", 0.9), vote("ABC7234", 0.9)).plate == "ABC7234"


def test_text_that_is_no_plate_does_not_take_part() -> None:
    found = decided(vote("COOD"), vote("ABC1234"), vote("COOD"), vote("ABC1234"))
    assert found.plate == "ABC1234"
    assert found.members == (1, 3)


def test_the_shape_decides_between_letters_and_digits() -> None:
    found = decided(vote("ABI2CDE"), vote("ABI2CDE"), vote("AB12CDE", 0.6), ballot=GB)
    assert (found.plate, found.shape) == ("AB12CDE", "LLNNLLL")
    assert found.votes >= 2.0, "a reading that cannot stand there counts for what it is confused with"


def test_the_shape_does_not_bend_what_is_read_clearly() -> None:
    found = decided(*[vote("VANITY1")] * 3, ballot=GB)
    assert (found.plate, found.shape) == ("VANITY1", None)


def test_a_shape_that_needs_a_character_nobody_read_is_not_put_on() -> None:
    assert decided(*[vote("AB12CD")] * 3, ballot=GB).plate == "AB12CD"


def test_certainty_and_margin_fall_when_readings_disagree() -> None:
    sure = decided(*[vote("ABC1234")] * 3)
    torn = decided(vote("ABC1234"), vote("A8C1234"), vote("ABC1234"), vote("A8C1234"))
    assert sure.certainty > 0.999
    assert torn.certainty < 0.9
    assert {torn.plate, torn.runner_up} == {"ABC1234", "A8C1234"}
    assert torn.margin < sure.margin


def test_a_tie_falls_the_same_way_in_every_order() -> None:
    votes = [vote("ABC1234"), vote("XYZ9876"), vote("A8C1234"), vote("XYZ9878")]
    assert len({decided(*order).plate for order in itertools.permutations(votes)}) == 1


def test_a_cameras_own_reader_weighs_more() -> None:
    assert decided(vote("ABC1234", weight=3.0), vote("A8C1234"), vote("A8C1234")).plate == "ABC1234"


READS = st.lists(st.tuples(st.text("AB08CD12", min_size=1, max_size=8), st.floats(0.5, 1.0)), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(READS, st.booleans())
def test_whatever_is_read_there_is_a_plate_and_its_numbers_make_sense(
    reads: list[tuple[str, float]], shaped: bool
) -> None:
    found = decided(*(vote(text, confidence) for text, confidence in reads), ballot=GB if shaped else None)
    assert found.plate
    assert 0 < found.certainty <= 1 + 1e-9
    assert 0 <= found.confidence <= 1
    assert -1 <= found.margin <= 1 + 1e-9
    assert found.votes >= 0
    assert "".join(column.winner for column in found.columns) == found.plate
    assert found.members


@settings(max_examples=100, deadline=None)
@given(READS)
def test_saying_everything_twice_changes_no_plate(reads: list[tuple[str, float]]) -> None:
    votes = [vote(text, confidence) for text, confidence in reads]
    once, twice = decided(*votes), decided(*votes, *votes)
    assert once.plate == twice.plate
    assert twice.certainty >= once.certainty - 1e-9


@given(st.text("ABC", max_size=6), st.text("ABC", max_size=6), st.text("ABC", max_size=6))
def test_edit_distance_is_a_distance(one: str, two: str, three: str) -> None:
    assert (edit_distance(one, two) == 0) is (one == two)
    assert edit_distance(one, two) == edit_distance(two, one)
    assert edit_distance(one, three) <= edit_distance(one, two) + edit_distance(two, three)
    assert same_plate(one, one)


def test_an_implausible_text_wins_only_where_there_is_no_plausible_one() -> None:
    strict = Ballot(Formats())
    assert decided(*[vote("12345")] * 5, *[vote("ABC1234")] * 2, ballot=strict).plate == "ABC1234"
    assert decided(*[vote("12345")] * 2, ballot=strict).plate == "12345"
