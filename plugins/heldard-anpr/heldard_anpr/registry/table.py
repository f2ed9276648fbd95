"""The lists as CSV, out and in. An import is tried line by line, each line reported; with `dry_run` nothing is kept."""

from __future__ import annotations

import csv
import io
from typing import Any, Literal

import msgspec

from heldard.plugin import HeldardError, InvalidError, Tx, new_id
from heldard_anpr.caller import Caller, shown
from heldard_anpr.registry import service, store
from heldard_anpr.registry.model import PassCreate, VehicleCreate, WatchCreate

LINES_LIMIT = 20_000
"""Lines of one import."""

ListName = Literal["vehicles", "passes", "watchlist"]
COLUMNS: dict[str, tuple[str, ...]] = {
    "vehicles": (
        "plate", "owner_name", "owner_type", "owner_ref", "site_id", "vehicle_type", "make", "model", "color", "notes",
        "active", "valid_from", "valid_until", "group_id",
    ),
    "passes": (
        "visitor_name", "phone", "company", "host", "purpose", "plate", "vehicle_desc", "site_id", "valid_from",
        "valid_until", "group_id",
    ),
    "watchlist": ("plate", "kind", "reason", "severity", "active"),
}  # fmt: skip
_BODIES: dict[str, type[VehicleCreate | PassCreate | WatchCreate]] = {
    "vehicles": VehicleCreate, "passes": PassCreate, "watchlist": WatchCreate,
}  # fmt: skip
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}


class LineReport(msgspec.Struct, frozen=True):
    """line: of the file, the head is 1. outcome: added, updated (same plate), unchanged, or refused with why."""

    line: int
    outcome: Literal["added", "updated", "unchanged", "refused"]
    plate: str | None = None
    error: str | None = None


class ImportReport(msgspec.Struct, frozen=True):
    name: str
    dry_run: bool
    added: int
    updated: int
    unchanged: int
    refused: int
    lines: list[LineReport]


class DryRun(Exception):  # noqa: N818 - it carries a result out of a unit that is not to be kept
    def __init__(self, report: ImportReport) -> None:
        super().__init__("dry run")
        self.report = report


def write(name: str, rows: list[dict[str, Any]]) -> str:
    """Rows of a list as CSV. Cells that a spreadsheet would run as a formula get a leading apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS[name])
    for row in rows:
        writer.writerow([_cell(column, row[column]) for column in COLUMNS[name]])
    return out.getvalue()


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.startswith("valid_"):
        return shown(value) or ""
    if column == "active":
        return "true" if value else "false"
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def read(name: str, text: str) -> list[tuple[int, dict[str, str]]]:
    """Lines of a file with their numbers. Raises InvalidError for a head that is not ours, or too many lines."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        head = [column.strip() for column in reader.fieldnames or []]
        reader.fieldnames = head
        unknown = [column for column in head if column not in COLUMNS[name]]
        if not head or unknown:
            known = ", ".join(COLUMNS[name])
            raise InvalidError(f"the first line must name columns among {known}; not {', '.join(unknown) or 'none'}")
        lines = [(reader.line_num, {k: v or "" for k, v in row.items() if isinstance(k, str)}) for row in reader]
    except csv.Error as error:
        raise InvalidError(f"line {reader.line_num} is not CSV: {error}") from None
    if len(lines) > LINES_LIMIT:
        raise InvalidError(f"{len(lines)} lines are over the limit of {LINES_LIMIT}: split the file")
    return lines


def load(
    tx: Tx, name: str, lines: list[tuple[int, dict[str, str]]], by: Caller, now_ms: int, dry_run: bool
) -> ImportReport:
    """Take every line in, or say why not. A plate that is listed already is updated with the cells that are given.

    Raises DryRun with the report where nothing is to be kept: the unit then leaves nothing behind.
    """
    reports = [_line(tx, name, number, cells, by, now_ms) for number, cells in lines]
    counts = {
        outcome: sum(r.outcome == outcome for r in reports) for outcome in ("added", "updated", "unchanged", "refused")
    }
    report = ImportReport(name=name, dry_run=dry_run, lines=reports, **counts)
    if dry_run:
        raise DryRun(report)
    return report


def _line(tx: Tx, name: str, number: int, cells: dict[str, str], by: Caller, now_ms: int) -> LineReport:
    plate = cells.get("plate", "").strip().lstrip("'") or None
    try:
        values = _values(name, cells, now_ms)
        service.must_be_group(tx, values.get("group_id"))
        return LineReport(number, _put(tx, name, values, cells, by, now_ms), plate)
    except HeldardError as error:
        return LineReport(number, "refused", plate, error.message)
    except msgspec.ValidationError as error:
        return LineReport(number, "refused", plate, str(error))


def _values(name: str, cells: dict[str, str], now_ms: int) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for column, cell in cells.items():
        text = cell.strip()
        text = text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text
        if text:
            given[column] = _flag(text) if column == "active" else text
    body = msgspec.convert(given, _BODIES[name])
    if isinstance(body, VehicleCreate):
        return service.vehicle_values(body)
    if isinstance(body, PassCreate):
        return service.pass_values(body, now_ms)
    return service.watch_values(body)


def _flag(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise InvalidError(f"active: {text!r} is neither true nor false")


def _put(tx: Tx, name: str, values: dict[str, Any], cells: dict[str, str], by: Caller, now_ms: int
         ) -> Literal["added", "updated", "unchanged"]:  # fmt: skip
    times = {"created_at": now_ms, "updated_at": now_ms}
    if name == "passes":
        code = service.new_code(tx)
        store.insert(tx, "visitor_passes", {"id": new_id("pass"), "code": code, "created_by": by.name} | values | times)
        return "added"
    found = tx.fetch(f"SELECT * FROM {name} WHERE plate_norm = ?", [values["plate_norm"]])  # noqa: S608 - two names
    if not found:
        head = {"id": new_id("veh")} if name == "vehicles" else {"id": new_id("wl"), "created_by": by.name}
        store.insert(tx, name, head | values | times)
        return "added"
    given = {column: values[column] for column, cell in cells.items() if cell.strip()}
    changed = {column: value for column, value in given.items() if found[0][column] != value and column != "plate"}
    if not changed:
        return "unchanged"
    store.update(tx, name, found[0]["id"], changed | {"updated_at": now_ms})
    return "updated"


EXPORTS: dict[str, str] = {"vehicles": "all_vehicles", "passes": "all_passes", "watchlist": "all_watchlist"}
