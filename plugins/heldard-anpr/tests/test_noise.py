"""The promises about noisy reads, held on the benchmark's own visits. The seed is fixed, so they cannot flake."""

from __future__ import annotations

import pytest

from tests.bench.anpr_noise import OPENING_ROWS, ROWS, Noise, accuracy, openings

TEN = next(noise for noise in ROWS if noise.name == "10 % wrong")


def test_at_ten_per_cent_and_five_reads_98_of_100_plates_are_exact() -> None:
    scores = accuracy(TEN, 600, seed=11)
    assert scores["voting"].exact >= 0.98 * scores["voting"].visits
    assert scores["majority"].exact < 0.92 * scores["majority"].visits
    assert scores["best_read"].exact < scores["majority"].exact


@pytest.mark.parametrize("noise", [noise for noise in ROWS if noise.error == 0.1], ids=lambda noise: noise.name)
def test_voting_is_better_than_both_others_under_every_kind_of_noise(noise: Noise) -> None:
    scores = accuracy(noise, 200, seed=12)
    assert scores["voting"].exact > scores["majority"].exact
    assert scores["voting"].exact > scores["best_read"].exact


def test_no_wrong_open_in_a_short_run() -> None:
    scores = openings(OPENING_ROWS[0], 1500, seed=13)
    assert scores["voting"].wrong_opens == 0
    assert scores["voting"].refused < 0.1 * scores["voting"].listed
    assert scores["majority"].refused > 0.4 * scores["majority"].listed


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_wrong_open_in_100_000_visits() -> None:
    scores = openings(OPENING_ROWS[0], 100_000, seed=7)
    assert scores["voting"].wrong_opens == 0
    assert scores["voting"].refused < 0.06 * scores["voting"].listed
