"""Too little room is a designed state: ingest is refused with an answer, rows go cheapest first, and all recovers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from heldard.config import RetentionSettings
from heldard.errors import BusyError, DiskFullError
from heldard.retention.disk import MIB
from heldard.retention.service import HOUR_MS
from tests.retention.conftest import START_MS, Box, mount_small, unmount

MakeBox = Callable[..., Awaitable[Box]]


async def test_the_reserve_refuses_with_507_and_a_time_to_retry_and_recovers_alone(box: Box) -> None:
    box.free = 1 * MIB
    await box.retention.look()
    with pytest.raises(DiskFullError) as caught:
        box.guard.admit()
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (507, "disk_reserve", 30)
    assert "1 MiB are free" in caught.value.message
    await box.event()
    assert len(await box.told("disk_reserve_reached")) == 1, "events still commit"
    box.free = 5121 * MIB
    await box.retention.look()
    assert box.guard.low, "no flapping at the edge"
    box.free = 6000 * MIB
    await box.retention.look()
    box.guard.admit()
    assert len(await box.told("disk_recovered")) == 1


async def test_the_reserve_is_at_most_a_twentieth_of_a_small_disk(box: Box) -> None:
    box.total, box.free = 10 * 1024 * MIB, 1024 * MIB
    box.guard.refresh()
    assert not box.guard.low
    assert box.guard.reserve == 512 * MIB


async def test_evidence_is_not_written_into_the_reserve(box: Box) -> None:
    await box.keep(1)
    box.free = 0
    await box.retention.look()
    with pytest.raises(OSError, match="reserve"):
        await box.keep(2)


async def test_below_the_reserve_old_rows_and_pictures_go_early_and_young_ones_stay(box: Box) -> None:
    await box.batch()
    await box.keep(1)
    box.clock.ms += 25 * HOUR_MS
    young = await box.batch()
    await box.keep(2)
    box.free = 0
    await box.retention.look()
    assert [row["seq"] for row in await box.db.fetch("SELECT seq FROM outbox")] == [young]
    assert await box.count("media_artifacts") == 1
    assert (await box.told("retention_shed"))[0]["reason"] == "disk_reserve"


async def _fill(box: Box, batches: int, *, finished: bool = True) -> None:
    for _ in range(batches):
        await box.batch(detections=100, finished=finished)


async def test_over_the_cap_the_oldest_finished_batches_go_first(make_box: MakeBox) -> None:
    box = await make_box(RetentionSettings(max_db_mb=8))
    unfinished = await box.batch(finished=False)
    for _ in range(50):
        await box.event()
    await _fill(box, 1200)
    events = await box.count("events")
    await box.retention.shed_size()
    size = await box.retention.store.size(8 * MIB)
    assert size.used_bytes <= 8 * MIB
    seqs = [row["seq"] for row in await box.db.fetch("SELECT seq FROM outbox ORDER BY seq")]
    assert seqs[0] == unfinished
    assert seqs[-1] == 1201, "the newest stay"
    assert await box.count("events") == events + 1
    told = (await box.told("retention_shed"))[-1]
    assert told["reason"] == "max_db_mb"
    assert "unfinished_batches" not in told


async def test_then_unfinished_batches_go_and_that_is_critical(make_box: MakeBox) -> None:
    box = await make_box(RetentionSettings(max_db_mb=8))
    await _fill(box, 1200, finished=False)
    await box.retention.shed_size()
    assert (await box.retention.store.size(8 * MIB)).used_bytes <= 8 * MIB
    found = [event for event in await box.events.after(0, 10) if event.event_type == "retention_shed"]
    assert found[0].severity == "critical"
    assert found[0].payload["unfinished_batches"] > 0


async def test_events_go_last_and_only_old_ones(make_box: MakeBox) -> None:
    box = await make_box(RetentionSettings(max_db_mb=8))
    blob = "x" * 40_000
    for n in range(300):
        await box.db.write(
            lambda connection: connection.execute(
                "INSERT INTO events (event_type, severity, at_ms, created_ms, payload) VALUES (1, 0, 0, ?, ?)",
                (box.clock.now_ms(), f'"{blob}"'))
        )  # fmt: skip
        if n == 249:
            box.clock.ms += 25 * HOUR_MS
    await box.batch()
    await box.retention.shed_size()
    assert await box.count("outbox") == 0
    assert 50 <= await box.count("events") < 250
    oldest = await box.db.fetch_one("SELECT min(created_ms) AS ms FROM events")
    assert oldest is not None
    assert oldest["ms"] >= START_MS


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB, where this machine lets us make one."""
    folder = tmp_path / "disk"
    if not mount_small(folder, 24):
        pytest.skip("mounting a file system takes root")
    yield folder
    unmount(folder)


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """128 MiB (the write-ahead log alone takes up to 40) where this machine lets us mount them, else a plain folder."""
    folder = tmp_path / "small"
    mounted = mount_small(folder, 128)
    yield folder
    if mounted:
        unmount(folder)


async def test_a_really_full_disk_answers_507_and_goes_on_when_there_is_room(
    make_box: MakeBox, tiny_disk: Path
) -> None:
    box = await make_box(RetentionSettings(), tiny_disk)
    stopper = tiny_disk / "somebody-elses-file"
    await box.batch()
    _fill_up(stopper)
    with pytest.raises(DiskFullError) as caught:
        await _fill(box, 100)
    assert caught.value.status == 507
    stored = await box.count("outbox")
    stopper.unlink()
    await box.batch()
    assert await box.count("outbox") == stored + 1
    check = await box.db.fetch_one("PRAGMA integrity_check")
    assert check is not None
    assert check[0] == "ok"


def _fill_up(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, b"x" * 4096)
    finally:
        os.close(descriptor)


async def test_trouble_of_the_store_ends_the_round_and_not_the_service(box: Box) -> None:
    async def busy() -> None:
        raise BusyError("many writes are waiting")

    await box.retention._try("sweep", busy)
    assert box.retention.figures.failures == 1


async def test_a_day_of_load_on_a_small_disk_stays_flat(make_box: MakeBox, small_folder: Path) -> None:
    """24 hours of one batch every ten seconds, kept for an hour: rows and pages stop growing after the first hours."""
    box = await make_box(RetentionSettings(detections_hours=1, evidence_max_mb=1, events_days=1), small_folder)
    rows: list[int] = []
    pages: list[int] = []
    for hour in range(24):
        for n in range(360):
            await box.batch(detections=5)
            box.clock.ms += 10_000
            if n % 60 == 0:
                await box.keep(box.clock.ms, 100_000)
                await box.event()
            if n % 30 == 29:
                await box.retention.sweep()
                await box.retention.shed_size()
        rows.append(await box.count("outbox"))
        pages.append((await box.retention.store.free_pages())[1])
        assert await box.retention.store.evidence_size() <= 2 * MIB, hour
    assert max(rows[2:]) <= 400
    assert max(pages[12:]) <= max(pages[2:8]) * 1.2
    assert await box.count("detections") == rows[-1] * 5
    with sqlite3.connect(box.db.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()
