"""A decision record as text for people."""

from __future__ import annotations

from typing import Any

GATE = {
    "open": "asked to open",
    "already_asked": "not asked again: one opening for one event",
    "not_matched": "stays shut: no list lets it in",
    "no_policy": "no gate at this camera",
    "policy_disabled": "stays shut: its policy is off",
    "kill_switch": "stays shut: the kill switch is on",
    "no_actuator": "stays shut: nothing is configured to open it",
    "below_threshold": "stays shut: too few good reads",
    "not_strict": "stays shut: the plate is not sure enough to open",
    "ambiguous": "stays shut: another listed plate is within reach",
    "vip_not_allowed": "stays shut: a place on the VIP list is not enough here",
    "direction_not_allowed": "stays shut: the vehicle goes the other way",
    "rate_limited": "stays shut: too many openings within a minute",
}
RULE = {
    "votes": "every character had its votes",
    "agreement": "one plate led for long enough",
    "visit_end": "the visit ended without enough votes",
}


def explained(found: dict[str, Any]) -> str:
    """The whole story of an event, from what `GET /entry-events/{id}/decision` answers."""
    event = found["event"]
    lines = [
        f"{event['plate']}  {event['auth_status']}  {event['event_type']}",
        f"  at {event['camera_id']}, {event['timestamp']}",
        f"  {event['id']}, workflow {event['workflow_status']}",
    ]
    for visit in found["visits"]:
        lines += _visit(visit)
    for opening in found["openings"]:
        detail = f" ({opening['detail']})" if opening["detail"] else ""
        lines.append(f"gate at {opening['camera_id']}: {opening['state']}{detail}, asked {opening['asked_at']}")
    for review in found["reviews"]:
        change = f", plate {review['plate_before']} -> {review['plate_after']}" if review["plate_after"] else ""
        note = f": {review['note']}" if review["note"] else ""
        lines.append(f"{review['at']}  {review['by']}: {review['from_status']} -> {review['to_status']}{change}{note}")
    return "\n".join(lines)


def _visit(visit: dict[str, Any]) -> list[str]:
    lines = ["", f"visit {visit['id']}, {visit['started_at']} to {visit['last_seen_at']}"]
    if visit["repeats"]:
        lines.append("  repeats the event: the same plate was here shortly before")
    counted = {number for made in visit["decisions"] for number in made["record"]["counted_reads"]}
    lines.append("  reads:")
    lines += [f"    {_read(read, counted)}" for read in visit["reads"]]
    for made in visit["decisions"]:
        lines += _decision(made)
    return lines


def _read(read: dict[str, Any], counted: set[int]) -> str:
    note = read["fate"]
    if note == "vote" and read["number"] not in counted:
        note = "vote, outvoted" if read["number"] < max(counted, default=0) else "vote, later"
    text = read["text"] or "(hashed)"
    return f"{read['number']:>3}  {text:<12} {read['confidence']:.2f}  {note:<14} {read['frame_id'] or 'no frame id'}"


def _decision(made: dict[str, Any]) -> list[str]:
    record = made["record"]
    title = "decision" if record["amends"] is None else f"amendment of {record['amends']}"
    lines = [
        f"  {title} at {made['at']}: {record['plate']}, {RULE[record['rule']]}",
        f"    votes {record['votes']:g} of {record['min_votes']:g}, confidence {record['confidence']:.3f} "
        f"(weakest character {record['weakest']:.3f}), "
        f"certainty {record['certainty']:.4f}, runner-up {record['runner_up'] or '-'} (margin {record['margin']:.3f})",
    ]
    for column in record["columns"]:
        if len(column["votes"]) > 1:
            shown = ", ".join(f"{_character(c)} {n:g}" for c, n in sorted(column["votes"].items(), key=lambda i: -i[1]))
            lines.append(f"    {_character(column['winner'])} won its place with {shown} (share {column['share']:.3f})")
    return [*lines, *_lists(record["lists"]), f"    gate: {GATE[record['gate']]}"]


def _lists(lists: dict[str, Any]) -> list[str]:
    entry = f", entry {lists['entry_id']} {lists.get('person') or ''}".rstrip() if "entry_id" in lists else ""
    note = f", {lists['note']}" if "note" in lists else ""
    lines = [f"    lists: {lists['status']} by {lists['rule']} ({lists.get('source', 'not listed')}{entry}{note})"]
    for change in lists.get("substitutions", []):
        cost = f"cost {change['cost']}"
        lines.append(f"      read {_character(change['read'])} for {_character(change['listed'])} in place "
                     f"{change['position'] + 1}, {cost}")  # fmt: skip
    near = [f"      near: {n['plate']} ({n['kind']}, distance {n['match']['distance']})" for n in lists.get("near", [])]
    return lines + near


def _character(text: str) -> str:
    return text or "nothing"
