"""The consumer: plays each camera's batches into the engine and hands what comes of it to the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
from msgspec.structs import replace

from heldard.plugin import Batch, Consumer, Effects, Tx
from heldard_anpr.decisions.recorder import Recorder
from heldard_anpr.engine.intake import seen
from heldard_anpr.engine.model import CameraState, Decided, Ended, Noted, Outcome, Read, Visit
from heldard_anpr.engine.visits import advance, observe

_ENCODER = msgspec.msgpack.Encoder()
_VISIT = msgspec.msgpack.Decoder(Visit)
_VOTES = msgspec.msgpack.Decoder(tuple[Read, ...])
_VOTES_OF = "/votes"


class AnprConsumer(Consumer):
    """One open visit is two blobs of state: itself, and its votes, which are larger and change less often."""

    name = "anpr"
    task_types = frozenset({"anpr"})

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.states: dict[str, CameraState] = {}

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        visits = (
            replace(
                _VISIT.decode(blob), votes=_VOTES.decode(state[key + _VOTES_OF]) if key + _VOTES_OF in state else ()
            )
            for key, blob in state.items()
            if not key.endswith(_VOTES_OF)
        )
        in_order = sorted(visits, key=lambda visit: (visit.started_ms, visit.id))
        self.states[camera_id] = CameraState({visit.id: visit for visit in in_order})

    def consume(self, batch: Batch, effects: Effects) -> None:
        shown = seen(batch, self.recorder.settings.direction_of(batch.camera_id))
        before = self.states.get(batch.camera_id, CameraState())
        after, outcomes = observe(before, shown, self.recorder.rules)
        self._keep(batch.camera_id, before, after, outcomes, batch.site_id, effects)

    def tick(self, camera_id: str, now_ms: int, effects: Effects) -> None:
        before = self.states.get(camera_id)
        if before is None or not before.visits:
            return
        after, outcomes = advance(before, now_ms, self.recorder.rules)
        if outcomes:
            self._keep(camera_id, before, after, outcomes, None, effects)

    def forget(self, camera_id: str) -> None:
        self.states.pop(camera_id, None)

    def let_go(self, camera_id: str, plate: str, effects: Effects) -> None:
        """Drop the open visits in which the plate was read, as if nobody were there."""
        state = self.states.get(camera_id, CameraState())
        kept = {visit_id: visit for visit_id, visit in state.visits.items() if not _is_about(visit, plate)}
        self.states[camera_id] = CameraState(kept)
        self._drop(state.visits.keys() - kept.keys(), effects)

    def _drop(self, visit_ids: Iterable[str], effects: Effects) -> None:
        for visit_id in visit_ids:
            effects.put_state(visit_id, None)
            effects.put_state(visit_id + _VOTES_OF, None)

    def _keep(self, camera_id: str, before: CameraState, after: CameraState, outcomes: list[Outcome],
              site_id: str | None, effects: Effects) -> None:  # fmt: skip
        self.states[camera_id] = after
        for visit_id, visit in after.visits.items():
            known = before.visits.get(visit_id)
            if known is not visit:
                effects.put_state(visit_id, _ENCODER.encode(replace(visit, votes=())))
            if visit.votes is not (known.votes if known is not None else ()):
                effects.put_state(visit_id + _VOTES_OF, _ENCODER.encode(visit.votes))
        self._drop(before.visits.keys() - after.visits.keys(), effects)
        for outcome in outcomes:
            effects.transact(self._work(outcome, site_id, effects))

    def _work(self, outcome: Outcome, site_id: str | None, effects: Effects) -> Callable[[Tx], None]:
        """What one outcome writes. Frames are kept here: they are looked for while they are still held."""
        match outcome:
            case Noted():
                evidence = effects.keep_frame(outcome.read.captured_ms) if outcome.keep else None
                return partial(self.recorder.note, noted=outcome, site_id=site_id, evidence=evidence)
            case Decided():
                kept = effects.keep_frame(outcome.best.captured_ms)
                return partial(self.recorder.decide, decided=outcome, evidence=kept)
            case Ended():
                return partial(self.recorder.end, ended=outcome)


def _is_about(visit: Visit, plate: str) -> bool:
    return (visit.verdict is not None and visit.verdict.plate == plate) or any(
        read.text == plate for read in (*visit.votes, *visit.doubts)
    )
