"""Retention, and giving out or erasing what is stored of one plate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from heldard.plugin import PluginContext, Tx
from heldard_anpr import sql
from heldard_anpr.decisions.recorder import SQL as DECISIONS
from heldard_anpr.privacy.mask import spellings
from heldard_anpr.settings import Retention

SQL = sql.load("heldard_anpr.privacy")
HASH_KEY = DECISIONS["hash_key"]
DAY_MS = 86_400_000
CHUNK = 200
"""Rows deleted in one unit of work, so that nothing waits long behind it."""


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


def drop_visit(tx: Tx, visit_id: str) -> int:
    """A visit with its reads and decisions; 1."""
    for name in ("drop_reads", "drop_decisions", "drop_visit"):
        tx.execute(SQL[name], [visit_id])
    return 1


def gather(tx: Tx, plate: str) -> dict[str, list[dict[str, Any]]]:
    """Every row that holds the plate, by table."""
    forms = spellings(plate, tx.execute(HASH_KEY)[0][0])
    found: dict[str, list[dict[str, Any]]] = {}
    for table, column in (
        ("vehicles", "plate_norm"), ("visitor_passes", "plate_norm"), ("watchlist", "plate_norm"),
        ("entry_events", "plate"), ("anpr_stays", "plate"), ("anpr_reads", "text"),
    ):  # fmt: skip
        query = f"SELECT * FROM {table} WHERE {column} IN (?, ?)"  # noqa: S608 - fixed names
        found[table] = tx.fetch(query, forms)
    return found
