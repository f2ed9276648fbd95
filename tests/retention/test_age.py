"""What is old goes, in small steps, and nothing else does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable

import msgspec

from heldard.config import RetentionSettings
from heldard.retention.service import CROWDED, DAY_MS, HOUR_MS
from heldard.retention.store import STEP_ROWS, VACUUM_PAGES
from tests.retention.conftest import START_MS, Box

MakeBox = Callable[..., Awaitable[Box]]


async def test_old_batches_go_with_their_detections_and_claims(box: Box) -> None:
    for _ in range(3):
        await box.batch()
    box.clock.ms += 168 * HOUR_MS + 1
    young = await box.batch()
    await box.retention.sweep()
    assert [row["seq"] for row in await box.db.fetch("SELECT seq FROM outbox")] == [young]
    assert (await box.count("detections"), await box.count("consumer_fanout")) == (10, 1)
    assert box.retention.figures.rows["outbox"] == 3


async def test_a_batch_that_some_consumer_has_not_ended_stays_however_old(box: Box) -> None:
    kept = await box.batch(finished=False)
    await box.batch()
    box.clock.ms += 400 * HOUR_MS
    await box.retention.sweep()
    assert [row["seq"] for row in await box.db.fetch("SELECT seq FROM outbox")] == [kept]
    assert await box.count("detections") == 10


async def test_a_batch_dated_in_the_future_does_not_hold_up_the_rest(box: Box) -> None:
    future = await box.batch(received_ms=START_MS + 1000 * DAY_MS)
    await box.batch()
    box.clock.ms += 169 * HOUR_MS
    await box.retention.sweep()
    assert [row["seq"] for row in await box.db.fetch("SELECT seq FROM outbox")] == [future]


async def test_no_step_deletes_more_than_its_rows(box: Box) -> None:
    for _ in range(120):
        await box.batch(detections=20)
    box.clock.ms += 169 * HOUR_MS
    steps: list[int] = []
    delete = box.retention.store.delete_batches

    async def counted(batches: list[tuple[int, int]], *, unfinished: bool) -> int:
        steps.append(sum(count + 1 for _, count in batches))
        return await delete(batches, unfinished=unfinished)

    box.retention.store.delete_batches = counted  # type: ignore[method-assign, assignment]
    await box.retention.sweep()
    assert await box.count("outbox") == 0
    assert len(steps) > 4
    assert max(steps) <= STEP_ROWS + 21


async def test_steps_wait_while_many_wait_for_the_writer(box: Box) -> None:
    for _ in range(60):
        await box.batch()
    box.clock.ms += 169 * HOUR_MS
    writer = box.db.writer
    type(writer).waiting = property(lambda _: CROWDED)  # type: ignore[method-assign, assignment]
    try:
        began = box.clock.ms
        await box.retention.sweep()
    finally:
        type(writer).waiting = property(lambda self: len(self._queue))  # type: ignore[method-assign, assignment]
    assert await box.count("outbox") == 0
    assert box.clock.ms - began >= 2000


async def test_events_and_actions_go_by_age_and_those_that_may_still_be_done_stay(box: Box) -> None:
    await box.event()
    action = (
        "INSERT INTO actions (consumer, kind, key, camera_id, payload, created_ms, expires_ms, state) "
        "VALUES (1, 'k', ?, 'gate', '{}', ?, ?, ?)"
    )
    rows = [
        ("ended", START_MS, START_MS, 2), ("nobody's", START_MS, START_MS, 0),
        ("waits", START_MS, START_MS + 400 * DAY_MS, 0), ("runs", START_MS, START_MS, 1),
    ]  # fmt: skip
    await box.db.write(lambda connection: connection.executemany(action, rows))
    box.clock.ms += 366 * DAY_MS
    await box.event()
    await box.retention.sweep()
    assert await box.count("events") == 1
    assert [row["key"] for row in await box.db.fetch("SELECT key FROM actions ORDER BY id")] == ["waits", "runs"]


async def test_the_audit_log_goes_by_age_and_sessions_when_they_end(box: Box) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        audited = "INSERT INTO audit_log (at_ms, actor, action, detail) VALUES (?, 'a', 'b', '{}')"
        connection.executemany(audited, [(START_MS,), (START_MS + 366 * DAY_MS,)])
        connection.execute(
            "INSERT INTO users (id, username, password_hash, role, created_ms, updated_ms) "
            "VALUES ('u', 'u', 'x', 'viewer', 0, 0)"
        )
        session = "INSERT INTO sessions VALUES (?, 'u', 0, 0, ?)"
        connection.executemany(session, [("old", START_MS + DAY_MS), ("young", START_MS + 400 * DAY_MS)])

    await box.db.write(fill)
    box.clock.ms += 366 * DAY_MS
    await box.retention.sweep()
    assert await box.count("audit_log") == 1
    assert [row["token"] for row in await box.db.fetch("SELECT token FROM sessions")] == ["young"]


async def test_old_evidence_goes_row_and_file(box: Box) -> None:
    old = await box.keep(1)
    box.clock.ms += 31 * DAY_MS
    young = await box.keep(2)
    await box.retention.sweep()
    assert [row["path"] for row in await box.db.fetch("SELECT path FROM media_artifacts")] == [young]
    assert not box.evidence.path(old).exists()  # type: ignore[union-attr]
    assert box.evidence.path(young).exists()  # type: ignore[union-attr]


async def test_evidence_over_its_cap_goes_oldest_first(make_box: MakeBox) -> None:
    box = await make_box(RetentionSettings(evidence_max_mb=1))
    names = []
    for n in range(12):
        names.append(await box.keep(n, 100 * 1024))
        box.clock.ms += 1
    await box.retention.sweep()
    kept = [row["path"] for row in await box.db.fetch("SELECT path FROM media_artifacts ORDER BY created_ms")]
    assert kept == names[2:]


async def test_a_file_whose_commit_never_came_is_removed_after_an_hour(box: Box) -> None:
    known = await box.keep(1)
    folder = box.evidence.path(known).parent  # type: ignore[union-attr]
    for name in ("gate-sub-2.jpg", "gate-sub-3.part"):
        (folder / name).write_bytes(b"x")
    for path in folder.iterdir():
        os.utime(path, (START_MS / 1000, START_MS / 1000))
    await box.retention.sweep_deep()
    assert len(list(folder.iterdir())) == 3
    box.clock.ms += 2 * HOUR_MS
    (folder / "gate-sub-4.jpg").write_bytes(b"under way")
    os.utime(folder / "gate-sub-4.jpg", (box.clock.ms / 1000, box.clock.ms / 1000))
    await box.retention.sweep_deep()
    assert sorted(path.name for path in folder.iterdir()) == ["gate-sub-1.jpg", "gate-sub-4.jpg"]
    assert box.retention.figures.orphan_files == 2


async def test_sources_that_no_batch_refers_to_go_once_they_are_not_in_memory(box: Box) -> None:
    for epoch in ("one", "two"):
        await box.batch(epoch=epoch)
        box.clock.ms += 169 * HOUR_MS
    await box.batch(epoch="three")
    await box.retention.sweep()
    await box.retention.sweep_deep()
    assert await box.count("sources") == 3, "what is in memory may be in a batch that is under way"
    box.sources._sources.clear()
    box.sources._source_ids.clear()
    await box.retention.sweep_deep()
    assert [row["epoch"] for row in await box.db.fetch("SELECT epoch FROM sources")] == ["three"]
    await box.batch(epoch="one")
    assert await box.count("sources") == 2


async def test_a_source_interned_while_the_log_is_read_stays(box: Box) -> None:
    used = box.retention.store.used_sources

    async def used_with_a_batch_coming() -> tuple[set[int], set[int]]:
        found = await used()
        await box.batch(epoch="new")
        return found

    assert await box.sources.prune(used_with_a_batch_coming) == 0
    assert await box.count("sources") == 1


async def test_free_pages_are_given_back(box: Box) -> None:
    for _ in range(200):
        await box.batch(detections=50)
    before = (await box.retention.store.size(0)).db_bytes
    box.clock.ms += 169 * HOUR_MS
    await box.retention.sweep()
    after = await box.retention.store.size(0)
    assert after.db_bytes < before * 0.6
    assert box.retention.figures.vacuumed_pages > 0


async def test_a_step_of_vacuum_gives_back_many_pages_at_once(box: Box) -> None:
    for _ in range(200):
        await box.batch(detections=50)
    await box.retention.store.delete_batches([(seq, 50) for seq in range(1, 201)], unfinished=False)
    free, _ = await box.retention.store.free_pages()
    await box.retention.store.vacuum()
    assert (await box.retention.store.free_pages())[0] == max(0, free - VACUUM_PAGES)


async def test_new_settings_hold_for_the_next_sweep(box: Box) -> None:
    await box.batch()
    box.clock.ms += 2 * HOUR_MS
    await box.retention.sweep()
    assert await box.count("outbox") == 1
    box.retention.settings = msgspec.structs.replace(box.retention.settings, detections_hours=1)
    await box.retention.sweep()
    assert await box.count("outbox") == 0
