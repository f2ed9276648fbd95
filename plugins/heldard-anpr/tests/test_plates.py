"""Normal forms, formats, confusion weights and distances."""

from __future__ import annotations

import itertools

import pytest
from heldard_anpr.plates import confusion
from heldard_anpr.plates.confusion import Confusions, learned, shipped
from heldard_anpr.plates.formats import Formats, expand, fits, formats, regions
from heldard_anpr.plates.matching import compare, keys, within
from heldard_anpr.plates.normal import normalise
from hypothesis import given
from hypothesis import strategies as st

PLATES = st.text("ABCDEHKMOPQSTXYZ0123456789", min_size=1, max_size=10)


@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert all(character.isalpha() or character in "0123456789" for character in once)


@given(st.text(max_size=12), st.sampled_from([" ", "-", "·", ".", "_"]))
def test_separators_and_case_of_ascii_do_not_matter(text: str, separator: str) -> None:
    assert normalise(separator.join(text)) == normalise("".join(text)) or not text.isascii()
    if text.isascii():
        assert normalise(text.lower()) == normalise(text.upper())


def test_patterns_expand_to_shapes() -> None:
    assert expand("L{1,2} N{2}") == ("LLNN", "LNN")
    assert expand("b-L{0,1}N") == ("bLN", "bN")
    assert fits("bLN", "BA1")
    assert not fits("bLN", "CA1")
    assert fits("HLA", "京A1")


@pytest.mark.parametrize("pattern", ["L{3,1}", "L{", "{2}", "A{1,16}" * 4, "N{99}"])
def test_patterns_that_are_none_are_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        expand(pattern)


def test_an_unknown_region_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'XX'"):
        formats(("XX",))


def test_every_shipped_region_expands_and_knows_its_own_shapes() -> None:
    for code in regions():
        found = formats((code,))
        assert found.shapes, code
        assert all(len(shape) <= 12 for shape in found.shapes), code


@pytest.mark.parametrize(
    ("region", "plate"),
    [("GB", "AB12CDE"), ("DE", "MXY1234"), ("FR", "AB123CD"), ("NL", "12ABC3"), ("CN", "京A12345"),
     ("IN", "MH12AB1234"),
     ("MY", "WA12B"),
     ("US", "VANITY"), ("digits", "12345"), ("ES", "1234BCD"), ("PL", "WA1234F")],
)  # fmt: skip
def test_plates_of_regions_are_plausible(region: str, plate: str) -> None:
    assert formats((region,)).plausible(plate)
    assert formats((region,)).shape_of(plate) is not None


def test_vanity_and_foreign_plates_stay_possible_where_a_region_is_set() -> None:
    assert formats(("GB",)).plausible("VANITY1")
    assert formats(("GB",), need_digit=False).plausible("VANITY")
    assert not formats(("GB",)).plausible("VANITY")
    assert Formats(min_length=1, need_letter=False, need_digit=False).plausible("7")


# --- confusions ------------------------------------------------------------------------------------------------------


def test_shipped_weights_are_shares_of_wrong_readings() -> None:
    for true, row in shipped().weights.items():
        assert true not in row
        assert 0.5 < sum(row.values()) <= 1.01
        assert all(0 < share <= 1 for share in row.values())


@pytest.mark.parametrize(("one", "other"), ["O0", "I1", "B8", "S5", "Z2", "D0", "Q0", "A4", "G6", "T7"])
def test_known_confusions_are_known(one: str, other: str) -> None:
    expected = one + other not in ("D0", "G6")
    assert shipped().confusable(one, other) is expected
    assert shipped().share(one, other) == shipped().share(other, one)


def test_letters_that_look_alike_in_two_scripts_are_confusable() -> None:
    assert shipped().confusable("А", "A")  # noqa: RUF001 - the first is Cyrillic
    assert shipped().confusable("О", "0")  # noqa: RUF001 - the first is Cyrillic
    assert not shipped().confusable("京", "A")


def test_likelihoods_are_never_nothing_and_never_certain() -> None:
    for read, true in itertools.product("A0京", repeat=2):
        assert 0 < shipped().likelihood(read, true) < 1


def test_counted_corrections_shift_the_weights() -> None:
    base = Confusions({"Z": {"2": 0.8, "7": 0.2}})
    assert learned(base, []) is base
    after = learned(base, [("Z", "W", confusion.PRIOR_COUNT), ("Z", "Z", 99), ("Q", "O", 3)])
    assert after.share("Z", "W") == pytest.approx(0.5)
    assert after.weights["Z"]["2"] == pytest.approx(0.4)
    assert after.share("Q", "O") == pytest.approx(3 / (confusion.PRIOR_COUNT + 3))


# --- distance --------------------------------------------------------------------------------------------------------


@given(PLATES, PLATES)
def test_distance_is_nothing_only_for_equal_plates_and_the_same_both_ways(one: str, other: str) -> None:
    there, back = (compare(a, b, shipped(), Formats()) for a, b in ((one, other), (other, one)))
    assert (there.distance == 0) is (one == other)
    assert there.distance == back.distance
    assert sum(change.cost for change in there.substitutions) == pytest.approx(there.distance, abs=0.01)


@given(PLATES, PLATES)
def test_the_listed_changes_turn_the_read_into_the_listed_plate(read: str, listed: str) -> None:
    rebuilt: list[str] = []
    rest = list(read)
    changes = list(compare(read, listed, shipped(), Formats()).substitutions)
    while rest or changes:
        if changes and changes[0].position == len(rebuilt) and (not changes[0].read or rest[:1] == [changes[0].read]):
            change = changes.pop(0)
            if change.read:
                rest.pop(0)
            rebuilt += [change.listed] if change.listed else []
        else:
            rebuilt.append(rest.pop(0))
    assert "".join(rebuilt) == listed


@given(PLATES, st.data())
def test_plates_within_two_edits_share_a_key(plate: str, data: st.DataObject) -> None:
    other = list(plate)
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(other)))
        kind = data.draw(st.sampled_from(["put", "drop", "swap"]))
        if kind == "put" or place == len(other):
            other.insert(place, "Z")
        elif kind == "drop" and len(other) > 1:
            del other[place]
        else:
            other[place] = "Z"
    if len(plate) > 2 and len(other) > 2:
        assert keys(plate) & keys("".join(other))


@given(PLATES, PLATES, st.floats(0, 3))
def test_within_is_compare_with_a_limit(read: str, listed: str, limit: float) -> None:
    whole = compare(read, listed, shipped(), Formats())
    assert within(read, listed, limit, shipped(), Formats()) == (whole if whole.distance <= limit else None)


def test_a_confusion_is_nearer_than_another_character_and_nearest_where_it_cannot_be() -> None:
    free, shaped = Formats(), formats(("GB",))
    confused = compare("ABI2CDE", "AB12CDE", shipped(), free)
    other = compare("ABW2CDE", "AB12CDE", shipped(), free)
    impossible = compare("ABI2CDE", "AB12CDE", shipped(), shaped)
    assert impossible.distance < confused.distance < 1 < other.distance
    assert confused.sole_confusion
    assert not other.sole_confusion
    assert compare("AB12CD", "AB12CDE", shipped(), free).distance == 1.0


def test_overlong_texts_are_compared_by_their_beginning() -> None:
    assert compare("A" * 500, "A" * 500, shipped(), Formats()).distance == 0
    assert len(keys("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) < 200
