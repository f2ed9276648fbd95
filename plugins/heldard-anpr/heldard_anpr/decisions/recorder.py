"""Writes what the engine decided: lists looked up, event, gate, pass and stay in the one unit that commits the claim.

Nothing here remembers anything between calls but the rules; everything is read from and written to the unit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from heldard.plugin import Tx
from heldard_anpr import sql
from heldard_anpr.engine.model import Decided, Direction, Ended, Noted, Rules
from heldard_anpr.gate.rule import WORTH_TELLING, Facts, Policy, Reason, may_open
from heldard_anpr.privacy.mask import hashed
from heldard_anpr.registry import store as registry
from heldard_anpr.registry.resolve import Question, Reach, Resolution, ask
from heldard_anpr.settings import Settings
from heldard_anpr.stays.pairing import Passage, pair, unpair

SQL = sql.load("heldard_anpr.decisions")
MINUTE_MS = 60_000
HUMAN = ("confirmed", "rejected", "corrected")
TAILGATE_SIGHTINGS = 3
"""Frames a vehicle without a plate must have been seen in to count as one that followed."""


def encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Recorder:
    """`rules` is replaced when a correction teaches new confusion weights."""

    def __init__(self, settings: Settings, rules: Rules, timezone: str = "UTC") -> None:
        self.settings = settings
        self.rules = rules
        self.reach = Reach(settings.open_reach, settings.twins, settings.notice_distance, timezone)

    # --- reads ---

    def note(self, tx: Tx, noted: Noted, site_id: str | None, evidence: str | None) -> None:
        read = noted.read
        tx.execute(SQL["open_visit"], [noted.visit_id, noted.camera_id, site_id, noted.started_ms, read.at_ms])
        tx.execute(SQL["add_read"], [
            noted.visit_id, read.number, read.at_ms, read.captured_ms, read.frame_id, read.track, read.raw, read.text,
            read.confidence, encoded([round(c, 4) for c in read.chars]), read.weight,
            None if read.plate_box is None else encoded(read.plate_box),
            None if read.vehicle_box is None else encoded(read.vehicle_box), noted.fate, evidence,
        ])  # fmt: skip

    # --- decisions ---

    def decide(self, tx: Tx, decided: Decided, evidence: str | None) -> None:
        """The event of a visit, or its amendment, and all that follows."""
        visit_id = decided.visit.id
        tx.execute(SQL["open_visit"], [visit_id, decided.visit.camera_id, decided.visit.site_id,
                                       decided.visit.started_ms, decided.visit.seen_ms])  # fmt: skip
        seen = decided.visit
        tx.execute(SQL["see_visit"], [seen.seen_ms, seen.reads, seen.sightings, seen.id])
        if evidence is not None:
            tx.execute(SQL["keep_evidence"], [evidence, visit_id, decided.best.number])
        resolution = ask(tx, self._question(decided), self.rules, self.reach)
        event_id = tx.fetch(SQL["visit"], [visit_id])[0]["event_id"]
        repeats = False
        if event_id is None:
            event_id, repeats = self._event_for(tx, decided, resolution)
            tx.execute(SQL["attach"], [event_id, int(repeats), visit_id])
        Entry(self, tx, decided, resolution, event_id, repeats).write()

    def _question(self, decided: Decided) -> Question:
        look = decided.visit.look
        return Question(
            decided.consensus.plate, decided.consensus.plausible, decided.at_ms, look.direction,
            look.vehicle_type.value, look.color.value,
        )  # fmt: skip

    def _event_for(self, tx: Tx, decided: Decided, resolution: Resolution) -> tuple[str, bool]:
        """The event that this visit repeats, or the id of a new one."""
        found = tx.execute(SQL["earlier"], {
            "plate": self.stored(tx, decided.consensus.plate, resolution), "camera_id": decided.visit.camera_id,
            "direction": decided.visit.look.direction, "at_ms": decided.at_ms,
            "since_ms": decided.visit.started_ms - round(self.settings.repeat_s * 1000),
        })  # fmt: skip
        return (found[0][0], True) if found else (decided.visit.id.replace("vis_", "evt_"), False)

    def stored(self, tx: Tx, plate: str, resolution: Resolution) -> str:
        """The plate as it is kept: of the unmatched, a hash where the site wants that."""
        if not self.settings.hash_unmatched or resolution.status != "unmatched":
            return plate
        return hashed(plate, tx.execute(SQL["hash_key"])[0][0])

    # --- ends ---

    def end(self, tx: Tx, ended: Ended) -> None:
        visit = ended.visit
        tx.execute(SQL["end_visit"], [ended.at_ms, visit.seen_ms, visit.reads, visit.sightings, visit.id])
        row = tx.fetch(SQL["visit"], [visit.id])
        event_id = row[0]["event_id"] if row else None
        if event_id is not None:
            tx.execute(SQL["event_seen"], [visit.seen_ms, event_id])
        self._forget(tx, visit.id, event_id)
        if visit.reads or visit.sightings >= TAILGATE_SIGHTINGS:
            self._tell_tailgating(tx, ended, event_id)

    def _forget(self, tx: Tx, visit_id: str, event_id: str | None) -> None:
        """The texts of a visit that led to no event, or to one whose plate is kept as a hash only."""
        if not self.settings.hash_unmatched:
            return
        event = [] if event_id is None else tx.fetch(SQL["event"], [event_id])
        if not event or (event[0]["plate"] or "").startswith("#"):
            tx.execute(SQL["forget_reads"], [visit_id])

    def _tell_tailgating(self, tx: Tx, ended: Ended, event_id: str | None) -> None:
        """Another vehicle was gone within moments of an opening that was not its own."""
        visit = ended.visit
        span = round(self.settings.tailgate_s * 1000)
        if not span or tx.execute(SQL["own_opening"], [visit.id]):
            return
        found = tx.fetch(SQL["opening_before"], [visit.camera_id, visit.seen_ms - span, visit.seen_ms, visit.id])
        if not found or (event_id is not None and found[0]["event_id"] == event_id):
            return
        event = tx.fetch(SQL["event"], [event_id]) if event_id is not None else []
        tx.event(
            "anpr_tailgating",
            at_ms=visit.seen_ms,
            severity="warning",
            camera_id=visit.camera_id,
            payload={
                "opened_for": found[0]["event_id"],
                "followed_by": event_id,
                "plate": event[0]["plate"] if event else None,
                "seconds_after": round((visit.seen_ms - found[0]["asked_ms"]) / 1000, 1),
            },
        )


class Entry:
    """One decision on its way into the event: what the write of it needs to know, and its steps in order."""

    def __init__(self, recorder: Recorder, tx: Tx, decided: Decided, resolution: Resolution, event_id: str,
                 repeats: bool) -> None:  # fmt: skip
        self.recorder = recorder
        self.tx = tx
        self.decided = decided
        self.resolution = resolution
        self.event_id = event_id
        self.visit = decided.visit
        self.direction: Direction = decided.visit.look.direction
        self.plate = recorder.stored(tx, decided.consensus.plate, resolution)
        before = tx.fetch(SQL["event"], [event_id])
        self.before = before[0] if before else None
        self.repeats = repeats
        self.facts = self._facts()
        self.reason: Reason = may_open(resolution, decided.rule, decided.strict, self.direction, self.facts)

    def write(self) -> None:
        amends = self.before is not None
        if self.before is not None and self.before["workflow_status"] in HUMAN:
            self._record("a reviewer's word stands")
            return
        if self.before is None:
            self.tx.execute(SQL["add_event"], self._columns())
        elif not self.repeats:
            self.tx.execute(SQL["amend_event"], self._columns())
        if self.repeats:
            self.tx.execute(SQL["event_seen"], [self.visit.seen_ms, self.event_id])
        else:
            self._follow(amends)
        self._gate()
        self._record("repeats" if self.repeats else "amended" if amends else "recorded")

    def _follow(self, amends: bool) -> None:
        """Pass, stay and the event that tells of it."""
        self._move_pass()
        if amends:
            unpair(self.tx, self.event_id)
        pair(self.tx, self._passage())
        self._tell()

    # --- the row ---

    @property
    def workflow(self) -> str:
        if self.decided.rule == "visit_end" or (self.facts.policy and self.reason in WORTH_TELLING):
            return "review"
        return self.resolution.workflow

    @property
    def event_type(self) -> str:
        return "vehicle_exit" if self.direction == "outbound" else "vehicle_entry"

    @property
    def at_ms(self) -> int:
        """When the last read that counted was taken."""
        return max(self.visit.votes[index].at_ms for index in self.decided.consensus.members)

    def _columns(self) -> dict[str, Any]:
        before = self.before
        return {
            "id": self.event_id,
            "site_id": self.visit.site_id,
            "camera_id": self.visit.camera_id,
            "event_type": self.event_type,
            "timestamp": self.at_ms,
            "direction": self.direction,
            "plate": self.plate,
            "plate_confidence": round(self.decided.consensus.confidence, 4),
            "subject": encoded(self._subject()),
            "authorization": encoded(self._authorization()),
            "auth_status": self.resolution.status,
            "evidence": encoded(self._evidence()),
            "workflow_status": self.workflow,
            "workflow": encoded({"status": self.workflow}),
            "audit": encoded(self._audit()),
            "track_id": self.decided.best.track,
            "seen_ms": self.visit.seen_ms,
            "created_at": self.decided.at_ms if before is None else before["created_at"],
        }

    def _subject(self) -> dict[str, Any]:
        look = self.visit.look
        make_model = " ".join(part for part in (look.make.value, look.model.value) if part)
        raw = self.plate if self.plate != self.decided.consensus.plate else self.decided.best.raw
        return {
            "type": "vehicle",
            "plate": raw,
            "plate_confidence": round(self.decided.consensus.confidence, 4),
            "plate_valid": self.decided.consensus.plausible,
            "vehicle_type": look.vehicle_type.value or None,
            "color": look.color.value or None,
            "make_model": make_model or None,
        }

    def _authorization(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self.resolution)
        hidden = ("workflow", "severity", "pass_action", "max_stay_s", "valid_until")
        return {name: value for name, value in found.items() if name not in hidden and value not in (None, [], False)}

    def _evidence(self) -> dict[str, Any]:
        """The frame of the read that shows the plate best; of another read where that one is not held any more."""
        best = self.decided.best
        found = self.tx.fetch(SQL["evidence_of_read"], [self.visit.id, best.number])
        if not found or found[0]["evidence"] is None:
            found = self.tx.fetch(SQL["any_evidence"], [self.visit.id])
        if not found:
            return {"snapshot_path": None, "frame_id": best.frame_id}
        row = found[0]
        return {
            "snapshot_path": f"snapshots/{row['evidence']}",
            "captured_ms": row["captured_ms"],
            "plate_box": row["plate_box"] and msgspec.json.decode(row["plate_box"]),
            "vehicle_box": row["vehicle_box"] and msgspec.json.decode(row["vehicle_box"]),
            "frame_id": best.frame_id,
        }

    def _audit(self) -> dict[str, Any]:
        look = self.visit.look
        return {
            "created_by": look.producer or "system",
            "model_versions": look.model_versions,
            "rule": self.decided.rule,
            "evidence": {
                "votes": self.decided.consensus.votes,
                "min_votes": self.recorder.rules.min_votes,
                "source": "camera_native" if look.native else "worker",
                "key": self.visit.id,
                "actuated": self.reason == "open" or self.reason == "already_asked",
            },
        }

    # --- what follows ---

    def _move_pass(self) -> None:
        action = self.resolution.pass_action
        if action is None or self.decided.rule == "visit_end":
            return
        entry, now = self.resolution.entry_id, self.at_ms
        if action == "check_in":
            self.tx.execute(registry.SQL["check_in"], [now, now, entry])
        else:
            self.tx.execute(registry.SQL["check_out"], [now, 1, now, entry])

    def _passage(self) -> Passage:
        return Passage(self.event_id, self.event_type, self.direction, self.plate, self.at_ms, self.visit.camera_id,
                       self.visit.site_id, self.resolution.status, self._due())  # fmt: skip

    def _due(self) -> int | None:
        """When the stay is too long: as the group says, else the site; a pass at the latest when it runs out."""
        limits: list[int] = []
        site_ms = round(self.recorder.settings.max_stay_h * 3_600_000)
        if self.resolution.max_stay_s is not None:
            limits.append(self.at_ms + self.resolution.max_stay_s * 1000)
        elif site_ms:
            limits.append(self.at_ms + site_ms)
        if self.resolution.source == "visitor_pass" and self.resolution.valid_until is not None:
            limits.append(self.resolution.valid_until)
        return min(limits, default=None)

    def _tell(self) -> None:
        before = self.before
        payload = {
            "entry_event_id": self.event_id, "plate": self.plate, "auth_status": self.resolution.status,
            "source": self.resolution.source, "event_type": self.event_type, "evidence": self._evidence(),
        }  # fmt: skip
        evidence = self._evidence_name()
        if before is not None:
            self.tx.event(
                "entry_amended",
                at_ms=self.decided.at_ms,
                severity="warning",
                camera_id=self.visit.camera_id,
                evidence=evidence,
                payload=payload | {"plate_before": before["plate"], "auth_status_before": before["auth_status"]},
            )
        if before is None or before["auth_status"] != self.resolution.status:
            self.tx.event(
                f"entry_{self.resolution.status}",
                at_ms=self.decided.at_ms,
                severity=self.resolution.severity,
                camera_id=self.visit.camera_id,
                evidence=evidence,
                payload=payload,
            )

    def _evidence_name(self) -> str | None:
        path = self._evidence()["snapshot_path"]
        return None if path is None else str(path).removeprefix("snapshots/")

    # --- the gate ---

    def _facts(self) -> Facts:
        tx, camera = self.tx, self.visit.camera_id
        rows = tx.fetch(SQL["policy"], [camera])
        since = self.decided.at_ms - MINUTE_MS
        known = self.recorder.settings.cameras.get(camera)
        return Facts(
            policy=policy_of(rows[0]) if rows else None,
            kill_switch=bool(tx.execute(SQL["kill_switch"])[0][0]),
            actuator=known is not None and known.actuator is not None,
            asked=bool(tx.execute(SQL["asked_of_event"], [self.key])),
            lately=tx.execute(SQL["asked_lately"], [camera, since])[0][0],
        )

    @property
    def key(self) -> str:
        """One opening for one event, whatever happens."""
        return f"open:{self.event_id}"

    def _gate(self) -> None:
        policy = self.facts.policy
        if self.reason == "open" and policy is not None:
            self._ask(policy)
        elif self.decided.rule == "visit_end" or (policy is not None and self.reason in WORTH_TELLING):
            self._tell_refusal()

    def _ask(self, policy: Policy) -> None:
        asked_ms = self.decided.at_ms
        expires_ms = asked_ms + round(self.recorder.settings.opening_expiry_s * 1000)
        camera = self.visit.camera_id
        self.tx.execute(
            SQL["ask_opening"], [self.key, camera, self.event_id, self.visit.id, asked_ms, expires_ms, "anpr"]
        )
        self.tx.act(
            "gate_open",
            key=self.key,
            expires_ms=expires_ms,
            payload={
                "key": self.key,
                "camera_id": camera,
                "event_id": self.event_id,
                "plate": self.plate,
                "port": policy.output_port,
                "pulse_ms": policy.pulse_ms,
                "mode": "auto",
            },
        )

    def _tell_refusal(self) -> None:
        reason = "below_threshold" if self.decided.rule == "visit_end" else self.reason
        look = self.visit.look
        self.tx.event(
            "gate_review_not_actuated",
            at_ms=self.decided.at_ms,
            severity="warning",
            camera_id=self.visit.camera_id,
            payload={
                "entry_event_id": self.event_id,
                "plate": self.plate,
                "votes": self.decided.consensus.votes,
                "min_votes": self.recorder.rules.min_votes,
                "source": "camera_native" if look.native else "worker",
                "produced_by": look.producer,
                "auth_status": self.resolution.status,
                "reason": reason,
            },
        )

    # --- the record ---

    def _record(self, done: str) -> None:
        """How it came about, for `explain`: without the texts where the plate is kept as a hash only."""
        consensus = self.decided.consensus
        hidden = self.plate != consensus.plate
        record = {
            "event_id": self.event_id,
            "done": done,
            "rule": self.decided.rule,
            "plate": self.plate,
            "plausible": consensus.plausible,
            "shape": consensus.shape,
            "votes": consensus.votes,
            "min_votes": self.recorder.rules.min_votes,
            "confidence": round(consensus.confidence, 4),
            "weakest": round(consensus.weakest, 4),
            "certainty": round(consensus.certainty, 6),
            "strict": self.decided.strict,
            "runner_up": None if hidden else consensus.runner_up,
            "margin": round(consensus.margin, 4),
            "columns": [] if hidden else msgspec.to_builtins(consensus.columns),
            "counted_reads": [self.visit.votes[index].number for index in consensus.members],
            "best_read": self.decided.best.number,
            "direction": self.direction,
            "amends": self.decided.amends and self.decided.amends.plate,
            "lists": {"rule": self.resolution.rule} | self._authorization(),
            "gate": self.reason,
        }
        if hidden:
            record["amends"] = None
        self.tx.execute(
            SQL["add_decision"], {"visit_id": self.visit.id, "at_ms": self.decided.at_ms, "record": encoded(record)}
        )


def policy_of(row: dict[str, Any]) -> Policy:
    directions = msgspec.json.decode(row["directions"], type=tuple[Direction, ...])
    return Policy(bool(row["enabled"]), row["output_port"], row["pulse_ms"], directions, bool(row["allow_vip"]),
                  row["per_minute"])  # fmt: skip
