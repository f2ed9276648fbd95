"""Zones, anpr and five plugins that do their worst in one daemon: ours do what they do alone, the others are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from .hostile_daemon import run

SECONDS = 16.0

CAUSES = {
    "raises": "it never works",
    "sometimes": "one in ten",
    "sleeps": "took longer than 2.0 s",
    "blocks": "held the event loop",
    "writes": "Error: ",
}


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_hostile_plugins_change_nothing_for_others_and_each_is_named_with_its_cause(tmp_path: Path) -> None:
    alone = await run(tmp_path / "alone", SECONDS, hostile=False)
    among = await run(tmp_path / "among", SECONDS, hostile=True)
    assert among.effects == alone.effects
    assert len(alone.effects) >= 8
    for name in ("zones", "anpr"):
        assert len(among.lags_ms[name]) == len(alone.lags_ms[name])
    assert alone.problems == {}
    assert set(among.problems) == set(CAUSES)
    for name, cause in CAUSES.items():
        assert cause in among.problems[name], among.problems[name]
    assert any(said in among.problems["writes"] for said in ("may not use table 'outbox'", "event type 17 is not"))
    held = {name for name, state in among.states.items() if state == "quarantined"}
    assert held == {"raises", "sleeps", "blocks", "writes"}
