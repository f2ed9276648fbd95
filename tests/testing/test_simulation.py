"""Seeded runs of the kernel with faults everywhere. A seed that fails: docs/how-to/replay-a-simulation-seed.md."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from heldard.testing.simulation import main, make_template, run, run_many


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


@pytest.mark.parametrize("seed", [*range(20, 40), 77])
def test_a_seed_always_gives_the_same_run(tmp_path: Path, seed: int) -> None:
    template = make_template(tmp_path)
    one = run(seed, template, tmp_path)
    elsewhere = [object() for _ in range(seed * 1009)]  # what comes now lies at other addresses
    other = run(seed, template, tmp_path)
    del elsewhere
    assert one == other
    assert len(one.trace) > 3


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    assert _told_of(77, hash_seed="1") == _told_of(77, hash_seed="2")


def _told_of(seed: int, hash_seed: str) -> str:
    """What the command says of a seed, in a process that orders its sets in its own way."""
    done = subprocess.run(
        [sys.executable, "-m", "heldard.testing.simulation", "--seed", str(seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_command_shows_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3"]) == 0
    assert "seed 3" in capsys.readouterr().out
