"""Seeded runs of the kernel with faults everywhere. A seed that fails: docs/how-to/replay-a-simulation-seed.md."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from heldard.testing.simulation import main, run, run_many
from heldard.testing.simulation_world import make_template


def _failures(first: int, seeds: int) -> str:
    failed = run_many(range(first, first + seeds))
    return "\n".join(f"python -m heldard.testing.simulation --seed {done.seed}: {done.error}" for done in failed[:5])


@pytest.mark.timeout(600)
def test_effects_are_those_of_a_run_without_faults_for_the_seeds_of_every_day() -> None:
    assert _failures(1, 100) == ""


@pytest.mark.timeout(600)
def test_effects_are_those_of_a_run_without_faults_for_seeds_nobody_has_seen() -> None:
    assert _failures(random.randrange(2**31), 100) == ""


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_effects_are_those_of_a_run_without_faults_for_ten_thousand_seeds() -> None:
    assert _failures(random.randrange(2**31), 10_000) == ""


def test_a_seed_always_gives_the_same_run(tmp_path: Path) -> None:
    template = make_template(tmp_path)
    one, other = (run(77, template, tmp_path) for _ in range(2))
    assert one == other
    assert len(one.trace) > 3


def test_the_command_shows_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3"]) == 0
    assert "seed 3" in capsys.readouterr().out
