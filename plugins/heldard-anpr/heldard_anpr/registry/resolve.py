"""What the lists say of a plate: first the looking up, inside the unit of work, then the rule, a pure function.

The order is upstream's (P-19..P-30). Where a list could not be read the answer is `exception`: nothing opens on a
list that is not known (X-40). Plates that are near to listed ones are a notice, never a plain match.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from heldard.plugin import Tx
from heldard_anpr.engine.model import Direction, Rules
from heldard_anpr.plates.matching import Match, Substitution, keys, within
from heldard_anpr.registry import store
from heldard_anpr.registry.model import Window

AuthStatus = Literal["matched", "unmatched", "exception", "blocked"]
CANDIDATES_LIMIT = 500


class Question(msgspec.Struct, frozen=True):
    """A decided plate and what is known of the vehicle."""

    plate: str
    plausible: bool
    at_ms: int
    direction: Direction = "unknown"
    vehicle_type: str = ""
    color: str = ""


class Near(msgspec.Struct, frozen=True):
    """A listed plate that the one read may be."""

    list: str
    entry_id: str
    plate: str
    kind: str | None
    match: Match


class Findings(msgspec.Struct, frozen=True):
    """What the lists hold. failed: lookups that broke, by name."""

    block: dict[str, Any] | None = None
    vehicle: dict[str, Any] | None = None
    passes: list[dict[str, Any]] = []
    vip: dict[str, Any] | None = None
    alert: dict[str, Any] | None = None
    near: list[Near] = []
    failed: list[str] = []

    @property
    def listed(self) -> bool:
        return bool(self.block or self.vehicle or self.passes or self.vip or self.alert)


class Reach(msgspec.Struct, frozen=True):
    """How far from a listed plate counts. See Settings."""

    open_reach: Literal["exact", "sole_confusion"] = "exact"
    twins: Literal["refuse", "exact_wins"] = "refuse"
    notice_distance: float = 1.0
    timezone: str = "UTC"


class Resolution(msgspec.Struct, frozen=True):
    """status, workflow, severity: as upstream. source: the list that decided. rule: the statement that decided.
    substitutions: from the plate read to the listed one. ambiguous: more than one listed plate is within reach."""

    status: AuthStatus
    workflow: Literal["auto", "pending", "review"]
    severity: Literal["info", "warning", "critical"]
    rule: str
    source: str | None = None
    note: str | None = None
    entry_id: str | None = None
    entry_plate: str | None = None
    person: str | None = None
    mismatches: list[str] = []
    alert: bool = False
    group: str | None = None
    max_stay_s: int | None = None
    pass_action: Literal["check_in", "check_out"] | None = None
    valid_until: int | None = None
    substitutions: list[Substitution] = []
    near: list[Near] = []
    ambiguous: bool = False


# --- looking up ------------------------------------------------------------------------------------------------------


def find(tx: Tx, question: Question, rules: Rules, reach: Reach) -> Findings:
    """Everything the lists hold that may concern this plate."""
    failed: list[str] = []
    plate = question.plate

    def ask(name: str, query: str, parameters: list[Any]) -> list[dict[str, Any]]:
        try:
            return tx.fetch(store.SQL[query], parameters)
        except sqlite3.Error:
            failed.append(f"{name}_lookup_failed")
            return []

    found = Findings(
        block=_first(ask("watchlist", "blocked", [plate])),
        vehicle=_first(ask("vehicle", "vehicle_of_plate", [plate])),
        passes=ask("pass", "passes_of_plate", [plate]),
        vip=_first(ask("vip", "flagged", [plate, "vip"])),
        alert=_first(ask("alert", "flagged", [plate, "alert"])),
        failed=failed,
    )
    if not plate or (not question.plausible and not found.listed):
        return found
    try:
        near = near_plates(tx, plate, rules, reach.notice_distance, exact=False)
    except sqlite3.Error:
        return msgspec.structs.replace(found, failed=[*failed, "near_lookup_failed"])
    return msgspec.structs.replace(found, near=near)


def _first(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    return rows[0] if rows else None


def near_plates(tx: Tx, plate: str, rules: Rules, distance: float, *, exact: bool) -> list[Near]:
    """Active entries whose plate is within `distance`, nearest first; `exact`: the very plate too."""
    wanted = sorted(keys(plate))
    marks = ", ".join("?" * len(wanted))
    query = (
        f"SELECT DISTINCT list, entry_id, plate FROM anpr_plate_keys WHERE key IN ({marks}) LIMIT {CANDIDATES_LIMIT}"  # noqa: S608 - only marks
    )
    found: list[Near] = []
    for list_name, entry_id, listed in tx.execute(query, wanted):
        match = within(plate, listed, distance, rules.ballot.confusions, rules.ballot.formats)
        if match is None or (match.exact and not exact):
            continue
        kind = _active_kind(tx, list_name, entry_id)
        if kind is not None:
            found.append(Near(list_name, entry_id, listed, kind, match))
    return sorted(found, key=lambda near: (near.match.distance, near.plate, near.list, near.entry_id))


def _active_kind(tx: Tx, list_name: str, entry_id: str) -> str | None:
    """`vehicle`, `pass`, or the kind on the watchlist; None when the entry does not count now."""
    if list_name == "visitor_passes":
        rows = tx.execute(
            "SELECT 1 FROM visitor_passes WHERE id = ? AND status IN ('active', 'checked_in')", [entry_id]
        )
        return "pass" if rows else None
    if list_name == "vehicles":
        return "vehicle" if tx.execute("SELECT 1 FROM vehicles WHERE id = ? AND active = 1", [entry_id]) else None
    rows = tx.execute("SELECT kind FROM watchlist WHERE id = ? AND active = 1", [entry_id])
    return rows[0][0] if rows else None


# --- the rule --------------------------------------------------------------------------------------------------------


def resolve(question: Question, found: Findings, reach: Reach) -> Resolution:
    """What the findings mean for this plate. The first rule that applies decides."""
    for rule in (_blocked, _failed, _unreadable, _vehicle, _pass, _vip, _alert, _nearly):
        resolution = rule(question, found, reach)
        if resolution is not None:
            return _doubted(_watched(resolution, found), found, reach)
    return Resolution("unmatched", "pending", "warning", "P-29")


def _blocked(_question: Question, found: Findings, _reach: Reach) -> Resolution | None:
    entry = found.block
    if entry is None:
        return None
    return Resolution(
        "blocked", "pending", entry["severity"] or "critical", "P-20", "watchlist", entry["reason"], entry["id"],
        entry["plate_norm"],
    )  # fmt: skip


def _failed(_question: Question, found: Findings, _reach: Reach) -> Resolution | None:
    if not found.failed:
        return None
    return Resolution("exception", "pending", "warning", "P-21", "system", found.failed[0])


def _unreadable(question: Question, found: Findings, _reach: Reach) -> Resolution | None:
    if found.listed or question.plausible:
        return None
    note = "plate_unreadable" if question.plate else "no_plate_read"
    return Resolution("unmatched", "pending", "warning", "P-19", None, note)


def _vehicle(question: Question, found: Findings, reach: Reach) -> Resolution | None:
    row = found.vehicle
    if row is None:
        return None
    facts: dict[str, Any] = {
        "source": "registered_vehicle", "entry_id": row["id"], "entry_plate": row["plate_norm"],
        "person": row["owner_name"], "group": row["group_name"], "max_stay_s": row["max_stay_s"],
        "valid_until": row["valid_until"],
    }  # fmt: skip
    refused = Resolution("exception", "pending", "warning", "P-22", **facts)
    if not _within(question.at_ms, row["valid_from"], row["valid_until"]):
        return msgspec.structs.replace(refused, note="outside_validity_window")
    if not scheduled(question.at_ms, store.windows(row["schedule"]), reach.timezone):
        return msgspec.structs.replace(refused, note="outside_schedule")
    mismatches = [
        name
        for name, seen in (("color", question.color), ("vehicle_type", question.vehicle_type))
        if differs(seen, row[name])
    ]
    if mismatches:
        return msgspec.structs.replace(refused, rule="P-23", mismatches=mismatches, note="attributes_differ")
    return Resolution("matched", "auto", "info", "P-24", **facts)


def differs(seen: str | None, listed: str | None) -> bool:
    """Both known and not the same, whatever the case."""
    one, other = (seen or "").strip().casefold(), (listed or "").strip().casefold()
    return bool(one and other and one != other)


def _within(at_ms: int, begins: int | None, ends: int | None) -> bool:
    return (begins is None or begins <= at_ms) and (ends is None or at_ms <= ends)


def scheduled(at_ms: int, windows: list[Window], timezone: str) -> bool:
    """Whether a moment falls into one of the windows; no windows mean always."""
    if not windows:
        return True
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(timezone))
    minute = local.hour * 60 + local.minute
    return any(_in_window(window, local.isoweekday(), minute) for window in windows)


def _in_window(window: Window, day: int, minute: int) -> bool:
    begins, ends = _minutes(window.begins), _minutes(window.ends)
    yesterday = (day - 2) % 7 + 1
    if begins < ends:
        return (not window.days or day in window.days) and begins <= minute < ends
    late = (not window.days or day in window.days) and minute >= begins
    return late or ((not window.days or yesterday in window.days) and minute < ends)


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


def _pass(question: Question, found: Findings, reach: Reach) -> Resolution | None:
    if not found.passes:
        return None
    row = next((p for p in found.passes if _pass_counts(p, question.at_ms, reach)), None)
    facts = found.passes[0] if row is None else row
    known: dict[str, Any] = {
        "source": "visitor_pass", "entry_id": facts["id"], "entry_plate": facts["plate_norm"],
        "person": facts["visitor_name"], "group": facts["group_name"], "max_stay_s": facts["max_stay_s"],
        "valid_until": facts["valid_until"],
    }  # fmt: skip
    if row is not None:
        return Resolution("matched", "auto", "info", "P-25", pass_action=_pass_action(row, question), **known)
    outside = _within(question.at_ms, facts["valid_from"], facts["valid_until"])
    note = "outside_schedule" if outside else "pass_outside_validity_window"
    return Resolution("exception", "pending", "warning", "P-26", note=note, **known)


def _pass_counts(row: dict[str, Any], at_ms: int, reach: Reach) -> bool:
    in_time = _within(at_ms, row["valid_from"], row["valid_until"])
    return in_time and scheduled(at_ms, store.windows(row["schedule"]), reach.timezone)


def _pass_action(row: dict[str, Any], question: Question) -> Literal["check_in", "check_out"] | None:
    if question.direction == "outbound":
        return "check_out" if row["status"] == "checked_in" else None
    return "check_in" if row["status"] != "checked_in" else None


def _vip(_question: Question, found: Findings, _reach: Reach) -> Resolution | None:
    if found.vip is None:
        return None
    entry = found.vip
    return Resolution("matched", "auto", "info", "P-27", "watchlist", entry["reason"], entry["id"], entry["plate_norm"])


def _alert(_question: Question, found: Findings, _reach: Reach) -> Resolution | None:
    if found.alert is None:
        return None
    entry = found.alert
    return Resolution(
        "exception", "pending", "warning", "P-28", "watchlist", entry["reason"], entry["id"], entry["plate_norm"],
        alert=True,
    )  # fmt: skip


def _nearly(_question: Question, found: Findings, _reach: Reach) -> Resolution | None:
    """Not listed, but near to what is: a person looks."""
    if not found.near:
        return None
    nearest = found.near[0]
    blocked = any(near.kind == "block" for near in found.near)
    several = len({near.plate for near in found.near}) > 1
    note = "near_blocklist" if blocked else "ambiguous_match" if several else "near_match"
    return Resolution(
        "exception", "review", "warning", "near", _source(nearest), note, nearest.entry_id, nearest.plate,
        substitutions=list(nearest.match.substitutions), near=found.near, ambiguous=several,
    )  # fmt: skip


def _source(near: Near) -> str:
    return {"vehicle": "registered_vehicle", "pass": "visitor_pass"}.get(near.kind or "", "watchlist")


def _watched(resolution: Resolution, found: Findings) -> Resolution:
    """P-30: what would match is an exception when the plate is on alert."""
    if found.alert is None or resolution.rule not in ("P-24", "P-25"):
        return resolution
    return msgspec.structs.replace(
        resolution, status="exception", workflow="pending", severity="warning", alert=True, pass_action=None
    )


def _doubted(resolution: Resolution, found: Findings, reach: Reach) -> Resolution:
    """A match beside another listed plate within reach goes to review; it never opens."""
    if not found.near or resolution.status != "matched":
        return msgspec.structs.replace(resolution, near=found.near)
    blocked = any(near.kind in ("block", "alert") for near in found.near)
    ambiguous = blocked or reach.twins == "refuse"
    note = "near_blocklist" if blocked else "ambiguous_match" if ambiguous else resolution.note
    workflow = "review" if ambiguous else resolution.workflow
    return msgspec.structs.replace(resolution, near=found.near, ambiguous=ambiguous, note=note, workflow=workflow)


def ask(tx: Tx, question: Question, rules: Rules, reach: Reach) -> Resolution:
    """Look up and decide. With `open_reach = "sole_confusion"` a plate that is not listed stands for the only listed
    one near it, when a single confusion lies between them."""
    found = find(tx, question, rules, reach)
    near = {entry.plate for entry in found.near}
    sole = len(near) == 1 and found.near[0].match.sole_confusion
    if reach.open_reach == "sole_confusion" and sole and not found.listed and not found.failed:
        meant = msgspec.structs.replace(question, plate=found.near[0].plate)
        there = find(tx, meant, rules, reach)
        resolution = resolve(meant, msgspec.structs.replace(there, near=_without(there.near, question.plate)), reach)
        return msgspec.structs.replace(resolution, substitutions=list(found.near[0].match.substitutions))
    return resolve(question, found, reach)


def _without(near: list[Near], plate: str) -> list[Near]:
    return [entry for entry in near if entry.plate != plate]
