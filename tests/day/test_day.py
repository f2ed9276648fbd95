"""A day of the whole box, compressed: everything that runs at a site, everything that goes wrong there, nothing lost
and nothing grown.

    make day        (or: python -m pytest -m long tests/day -s)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from heldard.testing import START_MS
from tests.day import incidents, verdict
from tests.day.daemon import Daemon
from tests.day.day import Day
from tests.day.street import HOUR_MS

Open = Callable[[float, float], Awaitable[Day]]


@pytest.fixture
async def open_day(tmp_path: Path) -> AsyncIterator[Open]:
    """A site that is set up, at that hour of the day, for so many hours."""
    days: list[Day] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def make(hour: float, hours: float) -> Day:
            begins_ms = START_MS + round((hour - 12) * HOUR_MS)
            days.append(Day(Daemon(tmp_path, begins_ms), session))
            await days[-1].open(hours)
            return days[-1]

        yield make
        for day in days:
            await day.close()


@pytest.mark.e2e
@pytest.mark.timeout(600)
async def test_an_hour_with_everything_going_wrong_loses_and_leaves_nothing(open_day: Open) -> None:
    day = await open_day(19.0, 1.25)
    await day.run(1.25, incidents.spread(75), sample_s=900)
    await verdict.judge(day)
    verdict.judge_flatness(day, from_hour=0.5)


@pytest.mark.e2e
@pytest.mark.long
async def test_a_day_of_the_whole_box_loses_nothing_and_stays_flat(open_day: Open, tmp_path: Path) -> None:
    day = await open_day(17.5, 24)
    await day.run(24, incidents.of_a_day(), sample_s=3600)
    await verdict.judge(day)
    figures = verdict.judge_flatness(day, from_hour=4)
    ledger = day.ledger
    figures |= {
        "batches": ledger.batches, "detections": ledger.detections, "duplicates": ledger.duplicates,
        "abandoned": ledger.abandoned, "refused": ledger.refusals, "told": ledger.told, "frames": day.frames,
        "heard": len(day.viewer.heard), "connections": day.viewer.connections, "scrapes": day.scraper.scrapes,
        "delivered": len(day.target.got), "events": dict(day.target.kinds), "odd": dict(day.odd),
    }  # fmt: skip
    print(json.dumps(figures))
    (tmp_path / "day.json").write_text(json.dumps({"figures": figures, "samples": day.samples}))
