"""The lists in the database. The only module that touches their tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from heldard.plugin import ConflictError, NotFoundError, PluginContext, Tx
from heldard_anpr import sql
from heldard_anpr.caller import shown
from heldard_anpr.plates.matching import keys
from heldard_anpr.registry.model import Group, Pass, Vehicle, WatchEntry, Window

SQL = sql.load("heldard_anpr.registry")
T = TypeVar("T")

Row = Mapping[str, Any]
TABLES = {"vehicles": "vehicle", "visitor_passes": "pass", "watchlist": "watchlist entry", "anpr_groups": "group"}


def vehicle(row: Row) -> Vehicle:
    return _struct(Vehicle, row, {"active": bool(row["active"])}, ("valid_from", "valid_until"))


def visitor_pass(row: Row) -> Pass:
    return _struct(Pass, row, {}, ("valid_from", "valid_until", "checked_in_at", "checked_out_at"))


def watch_entry(row: Row) -> WatchEntry:
    return _struct(WatchEntry, row, {"active": bool(row["active"])}, ())


def group(row: Row) -> Group:
    return _struct(Group, row, {"schedule": windows(row["schedule"])}, ())


def windows(text: str | None) -> list[Window]:
    return msgspec.json.decode(text, type=list[Window]) if text else []


def _struct(kind: type[T], row: Row, more: dict[str, Any], times: Sequence[str]) -> T:
    names: Sequence[str] = kind.__struct_fields__  # type: ignore[attr-defined]
    values = {name: row[name] for name in names if name not in more}
    for name in (*times, "created_at", "updated_at"):
        values[name] = shown(values[name])
    return kind(**values, **more)


# --- reading beside the writer ---------------------------------------------------------------------------------------


async def one(ctx: PluginContext, query: str, entry_id: str, read: Callable[[Row], T], what: str) -> T:
    rows = await ctx.fetch(SQL[query], [entry_id])
    if not rows:
        raise NotFoundError(f"no {what} {entry_id!r}")
    return read(rows[0])


async def every(ctx: PluginContext, query: str, parameters: Sequence[Any], read: Callable[[Row], T]) -> list[T]:
    return [read(row) for row in await ctx.fetch(SQL[query], parameters)]


async def vehicles(
    ctx: PluginContext, *, plate: str | None, owner_type: str | None, q: str | None, limit: int
) -> list[Vehicle]:
    """Newest first. `q`: part of the owner's name, the plate or the owner's reference."""
    clause, values = sql.where({"plate_norm = ?": plate, "owner_type = ?": owner_type})
    if q:
        clause, values = _containing(clause, values, q, ("owner_name", "plate", "plate_norm", "owner_ref"))
    query = f"SELECT * FROM vehicles {clause} ORDER BY created_at DESC, id LIMIT ?"  # noqa: S608 - fixed conditions
    return [vehicle(row) for row in await ctx.fetch(query, [*values, limit])]


async def passes(ctx: PluginContext, *, status: str | None, q: str | None, limit: int) -> list[Pass]:
    """Newest first. `q`: part of the visitor's name, code, company, host or plate."""
    clause, values = sql.where({"status = ?": status})
    if q:
        clause, values = _containing(clause, values, q, ("visitor_name", "code", "company", "host", "plate"))
    query = f"SELECT * FROM visitor_passes {clause} ORDER BY created_at DESC, id LIMIT ?"  # noqa: S608 - as above
    return [visitor_pass(row) for row in await ctx.fetch(query, [*values, limit])]


def _containing(clause: str, values: list[object], q: str, columns: Sequence[str]) -> tuple[str, list[object]]:
    wanted = "(" + " OR ".join(f"instr(lower({column}), lower(?)) > 0" for column in columns) + ")"
    return (f"{clause} AND {wanted}" if clause else f"WHERE {wanted}"), [*values, *([q] * len(columns))]


# --- inside a unit of work -------------------------------------------------------------------------------------------


def row(tx: Tx, table: str, entry_id: str) -> dict[str, Any]:
    """One row of a list. Raises NotFoundError."""
    found = tx.fetch(f"SELECT * FROM {table} WHERE id = ?", [entry_id])  # noqa: S608 - a table of TABLES
    if not found:
        raise NotFoundError(f"no {TABLES[table]} {entry_id!r}")
    return found[0]


def insert(tx: Tx, table: str, values: dict[str, Any]) -> None:
    columns = ", ".join(values)
    marks = ", ".join("?" * len(values))
    _hold_unique(tx, table, f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values.values()))  # noqa: S608
    _index(tx, table, values["id"], values.get("plate_norm"))


def update(tx: Tx, table: str, entry_id: str, values: dict[str, Any]) -> None:
    columns = ", ".join(f"{column} = ?" for column in values)
    _hold_unique(tx, table, f"UPDATE {table} SET {columns} WHERE id = ?", [*values.values(), entry_id])  # noqa: S608
    if "plate_norm" in values:
        _index(tx, table, entry_id, values["plate_norm"])


def delete(tx: Tx, table: str, entry_id: str) -> None:
    """Raises NotFoundError."""
    row(tx, table, entry_id)
    tx.execute(f"DELETE FROM {table} WHERE id = ?", [entry_id])  # noqa: S608 - a table of TABLES
    tx.execute(SQL["drop_keys"], [table, entry_id])
    if table == "anpr_groups":
        tx.execute(SQL["ungroup_vehicles"], [entry_id])
        tx.execute(SQL["ungroup_passes"], [entry_id])


def _index(tx: Tx, table: str, entry_id: str, plate: str | None) -> None:
    tx.execute(SQL["drop_keys"], [table, entry_id])
    if plate:
        tx.execute_many(SQL["add_key"], [(key, table, entry_id, plate) for key in sorted(keys(plate))])


def _hold_unique(tx: Tx, table: str, statement: str, values: Sequence[Any]) -> None:
    try:
        tx.execute(statement, values)
    except sqlite3.IntegrityError as error:
        if "UNIQUE" not in str(error):
            raise
        raise ConflictError(f"there is already such a {TABLES[table]}: {error}", code="already_listed") from None
