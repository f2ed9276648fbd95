"""Retention, and giving out or erasing what is stored of one plate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from heldard.plugin import PluginContext, Tx
from heldard_anpr import sql
from heldard_anpr.decisions.recorder import SQL as DECISIONS
from heldard_anpr.privacy.mask import spellings
from heldard_anpr.settings import Retention

SQL = sql.load("heldard_anpr.privacy")
DAY_MS = 86_400_000
CHUNK = 200
"""Rows deleted in one unit of work, so that nothing waits long behind it."""


class Erased(msgspec.Struct, frozen=True):
    """What went. Kept frames go by the kernel's own retention; list entries stay unless `lists` was asked for."""

    events: int
    visits: int
    list_entries: int


async def sweep(ctx: PluginContext, retention: Retention) -> int:
    """Delete what is older than its status allows; how many events and visits went."""
    now = ctx.clock.now_ms()
    gone = 0
    for status in ("matched", "unmatched", "exception", "blocked"):
        before = now - getattr(retention, status) * DAY_MS
        while rows := await ctx.fetch(SQL["old_events"], [status, before, CHUNK]):
            await ctx.write(partial(_drop_all, drop_event, [row["id"] for row in rows]))
            gone += len(rows)
    before = now - retention.unread * DAY_MS
    while rows := await ctx.fetch(SQL["old_visits"], [before, CHUNK]):
        await ctx.write(partial(_drop_all, drop_visit, [row["id"] for row in rows]))
        gone += len(rows)
    await ctx.write(lambda tx: tx.execute(SQL["old_openings"], [now - retention.matched * DAY_MS]))
    return gone


def _drop_all(drop: Callable[[Tx, str], object], ids: Sequence[str], tx: Tx) -> None:
    for found in ids:
        drop(tx, found)


def drop_event(tx: Tx, event_id: str) -> int:
    """An event with its visits, reads, decisions, reviews and stay; how many visits went."""
    visits = tx.execute(SQL["visits_of_event"], [event_id])
    for (visit_id,) in visits:
        drop_visit(tx, visit_id)
    for name in ("drop_reviews", "drop_stays", "drop_event"):
        tx.execute(SQL[name], [event_id])
    return len(visits)


def drop_visit(tx: Tx, visit_id: str) -> None:
    for name in ("drop_reads", "drop_decisions", "drop_visit"):
        tx.execute(SQL[name], [visit_id])


def erase(tx: Tx, plate: str, *, lists: bool) -> Erased:
    """Everything stored of a plate: its events, and visits in which it was read. `lists`: list entries too."""
    forms = spellings(plate, tx.execute(DECISIONS["hash_key"])[0][0])
    events = [row[0] for form in forms for row in tx.execute("SELECT id FROM entry_events WHERE plate = ?", [form])]
    visits = sum(drop_event(tx, event_id) for event_id in events)
    loose = tx.execute(SQL["visits_with_read"], [plate])
    for (visit_id,) in loose:
        drop_visit(tx, visit_id)
    for form in forms:
        tx.execute("DELETE FROM anpr_stays WHERE plate = ?", [form])
    return Erased(len(events), visits + len(loose), _erase_entries(tx, plate) if lists else 0)


def _erase_entries(tx: Tx, plate: str) -> int:
    gone = 0
    for table in ("vehicles", "visitor_passes", "watchlist"):
        rows = tx.execute(f"SELECT id FROM {table} WHERE plate_norm = ?", [plate])  # noqa: S608 - three names
        for (entry_id,) in rows:
            tx.execute(f"DELETE FROM {table} WHERE id = ?", [entry_id])  # noqa: S608 - three names
            tx.execute("DELETE FROM anpr_plate_keys WHERE list = ? AND entry_id = ?", [table, entry_id])
        gone += len(rows)
    return gone


def gather(tx: Tx, plate: str) -> dict[str, list[dict[str, Any]]]:
    """Every row that holds the plate, by table."""
    forms = spellings(plate, tx.execute(DECISIONS["hash_key"])[0][0])
    found: dict[str, list[dict[str, Any]]] = {}
    for table, column in (
        ("vehicles", "plate_norm"), ("visitor_passes", "plate_norm"), ("watchlist", "plate_norm"),
        ("entry_events", "plate"), ("anpr_stays", "plate"), ("anpr_reads", "text"),
    ):  # fmt: skip
        query = f"SELECT * FROM {table} WHERE {column} IN (?, ?)"  # noqa: S608 - fixed names
        found[table] = tx.fetch(query, forms)
    return found
