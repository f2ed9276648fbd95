"""The plate engine: from what each frame showed to one decision per visit. Pure: nothing is read but the arguments.

`observe` takes in a frame, `advance` the passing of time. Both return the next state and what came of it, dated by
when it became due. How often `advance` is called changes nothing: `observe` advances to its own time first.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from msgspec.structs import replace

from heldard_anpr.engine.model import (
    AMENDMENTS,
    FRAMES_KEPT,
    READS_NOTED,
    VISITS_OPEN,
    VOTES_KEPT,
    CameraState,
    Decided,
    Ended,
    Fate,
    Lead,
    Look,
    Noted,
    Outcome,
    Read,
    Rule,
    Rules,
    Seen,
    Sighting,
    Trait,
    Verdict,
    Visit,
)
from heldard_anpr.engine.voting import Consensus, Vote, decide, edit_distance, same_plate
from heldard_anpr.plates.matching import within

_EPSILON = 1e-6

JOIN_EDITS = 2
"""A read joins a visit over a switched track id only within so many edits, however cheap they are."""


# --- time ------------------------------------------------------------------------------------------------------------


def advance(state: CameraState, now_ms: int, rules: Rules) -> tuple[CameraState, list[Outcome]]:
    """Decide and end what is due by `now_ms`, in the order in which it became due."""
    visits = dict(state.visits)
    outcomes: list[Outcome] = []
    while due := _next_due(visits.values(), rules):
        at_ms, visit = due
        if at_ms > now_ms:
            break
        if at_ms == visit.seen_ms + rules.visit_gap_ms:
            outcomes.extend(_end(visit, at_ms, rules))
            del visits[visit.id]
        else:
            visits[visit.id], made = _judge(visit, at_ms, "agreement", rules)
            outcomes.extend(made)
    return (CameraState(visits), outcomes) if outcomes else (state, outcomes)


def _next_due(visits: Iterable[Visit], rules: Rules) -> tuple[int, Visit] | None:
    found = [(_due(visit, rules), visit) for visit in visits]
    return min(found, key=lambda pair: (pair[0], pair[1].id), default=None)


def _due(visit: Visit, rules: Rules) -> int:
    """When something happens to a visit without another frame: agreement, or its end."""
    end = visit.seen_ms + rules.visit_gap_ms
    if _open_question(visit) and visit.lead.votes >= rules.agree_votes - _EPSILON:
        return min(end, max(visit.seen_ms, visit.lead.since_ms + rules.agree_ms))
    return end


def _open_question(visit: Visit) -> bool:
    """Whether the plate ahead is not the one decided on."""
    if not visit.lead.plate or visit.amendments >= AMENDMENTS:
        return False
    return visit.verdict is None or visit.verdict.plate != visit.lead.plate


def _end(visit: Visit, at_ms: int, rules: Rules) -> list[Outcome]:
    outcomes: list[Outcome] = []
    if visit.verdict is None and visit.votes:
        visit, outcomes = _judge(visit, at_ms, "visit_end", rules)
    return [*outcomes, Ended(visit, at_ms)]


# --- frames ----------------------------------------------------------------------------------------------------------


def observe(state: CameraState, seen: Seen, rules: Rules) -> tuple[CameraState, list[Outcome]]:
    """Take in one frame: each vehicle in it goes to its visit, each visit gets at most one vote."""
    state, outcomes = advance(state, seen.at_ms, rules)
    if not seen.sightings:
        return state, outcomes
    visits = dict(state.visits)
    for visit, group in _assign(visits, seen, rules):
        after, made = _take_in(visit, group, seen, rules)
        visits[after.id] = after
        outcomes.extend(made)
    _settle(visits, seen.at_ms)
    outcomes.extend(_shed(visits, seen.at_ms, rules))
    return CameraState(visits), outcomes


def _settle(visits: dict[str, Visit], at_ms: int) -> None:
    """A track belongs to the visit it was last seen in; one that left before a plate was read left nothing."""
    seen_now = (visit for visit in visits.values() if visit.seen_ms == at_ms)
    owner = {track: visit.id for visit in seen_now for track, at in visit.tracks.items() if at == at_ms}
    for visit in list(visits.values()):
        kept = {track: at for track, at in visit.tracks.items() if owner.get(track, visit.id) == visit.id}
        if len(kept) == len(visit.tracks):
            continue
        if kept or visit.reads:
            visits[visit.id] = replace(visit, tracks=kept)
        else:
            del visits[visit.id]


def _shed(visits: dict[str, Visit], at_ms: int, rules: Rules) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(visits) > VISITS_OPEN:
        oldest = min(visits.values(), key=lambda visit: (visit.seen_ms, visit.id))
        outcomes.extend(_end(oldest, at_ms, rules))
        del visits[oldest.id]
    return outcomes


def _assign(visits: dict[str, Visit], seen: Seen, rules: Rules) -> list[tuple[Visit, list[Sighting]]]:
    """Which visit each sighting belongs to. Two tracks in one frame are two vehicles."""
    groups: dict[str, tuple[Visit, list[Sighting]]] = {}
    by_track = {track: visit for visit in visits.values() for track in visit.tracks}
    tracked = {by_track[s.track].id for s in seen.sightings if s.track in by_track}
    order = sorted(seen.sightings, key=lambda s: (s.track not in by_track, s.track is None, s.index))
    for sighting in order:
        if sighting.track is None and not sighting.text:
            continue
        visit = _visit_of(sighting, by_track, seen, rules)
        if visit is None or not visit.lead.plate:
            free = [v for v in visits.values() if v.id not in tracked and v.id not in groups]
            if sighting.track is None:
                free += [v for v, group in groups.values() if group[0].track is None]
            visit = _near(free, sighting, rules) or visit or _start(seen, sighting)
        if sighting.track is not None:
            by_track[sighting.track] = visit
        groups.setdefault(visit.id, (visit, []))[1].append(sighting)
    return list(groups.values())


def _visit_of(sighting: Sighting, by_track: dict[str, Visit], seen: Seen, rules: Rules) -> Visit | None:
    visit = by_track.get(sighting.track) if sighting.track is not None else None
    if visit is None or _another_vehicle(visit, sighting, seen.at_ms, rules):
        return None
    return visit


def _another_vehicle(visit: Visit, sighting: Sighting, at_ms: int, rules: Rules) -> bool:
    """The track's id was given to another vehicle: it was away, or the doubts about it agree."""
    if not sighting.text or not visit.lead.plate or same_plate(sighting.text, visit.lead.plate):
        return False
    away_ms = at_ms - visit.tracks.get(sighting.track or "", at_ms)
    if away_ms > rules.reuse_gap_ms:
        return True
    sure = (sighting.confidence or 0.0) >= rules.floor
    return sure and any(same_plate(doubt.text, sighting.text) for doubt in visit.doubts)


def _near(free: list[Visit], sighting: Sighting, rules: Rules) -> Visit | None:
    """The open visit whose plate this may be: a tracker that lost the vehicle gives it a new id."""
    if not sighting.text:
        return None
    ballot = rules.ballot
    found: list[tuple[float, str, Visit]] = []
    for visit in free:
        known = visit.look.direction != "unknown" and sighting.direction != "unknown"
        if not visit.lead.plate or (known and visit.look.direction != sighting.direction):
            continue
        if edit_distance(sighting.text, visit.lead.plate) > JOIN_EDITS:
            continue
        match = within(sighting.text, visit.lead.plate, rules.join_distance, ballot.confusions, ballot.formats)
        if match is not None:
            found.append((match.distance, visit.id, visit))
    return min(found)[2] if found else None


def _start(seen: Seen, sighting: Sighting) -> Visit:
    name = f"{seen.site_id}/{seen.camera_id}/{seen.seq}/{sighting.index}/{seen.at_ms}".encode()
    visit_id = f"vis_{blake2b(name, digest_size=16).hexdigest()}"
    return Visit(visit_id, seen.camera_id, seen.at_ms, seen.at_ms, seen.site_id)


def _take_in(visit: Visit, group: list[Sighting], seen: Seen, rules: Rules) -> tuple[Visit, list[Outcome]]:
    """All that one frame shows of one visit."""
    tracks = visit.tracks | {sighting.track: seen.at_ms for sighting in group if sighting.track is not None}
    look = visit.look
    for sighting in group:
        look = _looked(look, sighting, seen)
    visit = replace(visit, seen_ms=seen.at_ms, tracks=tracks, look=look, sightings=visit.sightings + 1)
    outcomes: list[Outcome] = []
    voted = False
    read_first = sorted((s for s in group if s.text), key=lambda s: (-(s.confidence or 0.0), s.index))
    for sighting in read_first:
        visit, noted = _note(visit, sighting, seen, rules)
        voted = voted or noted.fate == "vote"
        if noted.read.number < READS_NOTED:
            outcomes.append(noted)
    turned = visit.verdict is not None and visit.verdict.direction != look.direction
    if turned or (voted and not _settled(visit, read_first[0].text)):
        visit, made = _count(visit, seen.at_ms, rules)
        outcomes.extend(made)
    return visit, outcomes


def _settled(visit: Visit, text: str) -> bool:
    """Whether another read of this text can change nothing: the visit is decided on it, strictly."""
    verdict = visit.verdict
    return verdict is not None and verdict.strict and text == verdict.plate == visit.lead.plate


def _looked(look: Look, sighting: Sighting, seen: Seen) -> Look:
    fallback = sighting.confidence if sighting.text else None
    confidence = sighting.detection_confidence if sighting.detection_confidence is not None else (fallback or 0.0)
    return replace(
        look,
        vehicle_type=_trait(look.vehicle_type, sighting.vehicle_type, confidence),
        color=_trait(look.color, sighting.color, confidence),
        make=_trait(look.make, sighting.make, confidence),
        model=_trait(look.model, sighting.model, confidence),
        direction=look.direction if sighting.direction == "unknown" else sighting.direction,
        model_versions=look.model_versions if sighting.model_versions is None else sighting.model_versions,
        native=seen.native,
        producer=seen.producer,
    )


def _trait(known: Trait, value: str, confidence: float) -> Trait:
    return Trait(value, confidence) if value and confidence > known.confidence else known


# --- votes -----------------------------------------------------------------------------------------------------------


def _note(visit: Visit, sighting: Sighting, seen: Seen, rules: Rules) -> tuple[Visit, Noted]:
    """One read: where it goes, and the visit with it."""
    read = _read(visit, sighting, seen, rules)
    frame = seen.frame_id if seen.captured_ms is None else str(seen.captured_ms)
    frame = frame or f"#{seen.seq}"
    fate = _fate(visit, read, frame, rules)
    keep = fate == "vote" and read.confidence > visit.best
    frames = (*visit.frames[-FRAMES_KEPT + 1 :], frame)
    after = replace(visit, reads=visit.reads + 1)
    if fate == "vote":
        votes = (*visit.votes, read)
        if len(votes) > VOTES_KEPT:
            votes = tuple(v for v in votes if v is not _weakest(votes))
        after = replace(after, votes=votes, frames=frames, doubts=(), best=max(visit.best, read.confidence))
    elif fate == "doubted":
        after = replace(after, doubts=(*visit.doubts[-3:], read), frames=frames)
    return after, Noted(visit.id, visit.camera_id, visit.started_ms, read, fate, keep)


def _read(visit: Visit, sighting: Sighting, seen: Seen, rules: Rules) -> Read:
    missing = rules.native_confidence if seen.native else rules.missing_confidence
    confidence = missing if sighting.confidence is None else sighting.confidence
    return Read(
        number=visit.reads,
        at_ms=seen.at_ms,
        raw=sighting.raw,
        text=sighting.text,
        confidence=confidence,
        chars=sighting.chars or (confidence,) * len(sighting.text),
        weight=rules.min_votes if seen.native else 1.0,
        captured_ms=seen.captured_ms,
        frame_id=seen.frame_id,
        track=sighting.track,
        plate_box=sighting.plate_box,
        vehicle_box=sighting.vehicle_box,
    )


def _fate(visit: Visit, read: Read, frame: str, rules: Rules) -> Fate:
    if read.confidence < rules.floor - _EPSILON:
        return "below_floor"
    if frame in visit.frames:
        return "same_frame"
    if visit.verdict is not None and not same_plate(read.text, visit.verdict.plate):
        return "doubted"
    if len(visit.votes) >= VOTES_KEPT and (
        _settled(visit, read.text) or _strength(read) <= _strength(_weakest(visit.votes))
    ):
        return "weaker"
    return "vote"


def _weakest(votes: tuple[Read, ...]) -> Read:
    return min(votes, key=lambda read: (_strength(read), read.number))


def _strength(read: Read) -> float:
    return read.confidence * read.weight


def _count(visit: Visit, at_ms: int, rules: Rules) -> tuple[Visit, list[Outcome]]:
    """Count the votes anew and decide where they suffice."""
    consensus = consensus_of(visit, rules)
    if consensus is None:
        return visit, []
    since = visit.lead.since_ms if consensus.plate == visit.lead.plate else at_ms
    visit = replace(visit, lead=Lead(consensus.plate, since, consensus.votes))
    if consensus.votes >= rules.min_votes - _EPSILON:
        return _judge(visit, at_ms, "votes", rules, consensus)
    if at_ms - since >= rules.agree_ms and consensus.votes >= rules.agree_votes - _EPSILON:
        return _judge(visit, at_ms, "agreement", rules, consensus)
    return visit, []


def consensus_of(visit: Visit, rules: Rules) -> Consensus | None:
    votes = [Vote(read.text, read.confidence, read.chars, read.weight) for read in visit.votes]
    return decide(votes, rules.ballot)


def _judge(
    visit: Visit, at_ms: int, rule: Rule, rules: Rules, consensus: Consensus | None = None
) -> tuple[Visit, list[Outcome]]:
    """Decide, or amend what was decided if the new decision says something else or says it better."""
    consensus = consensus or consensus_of(visit, rules)
    assert consensus is not None, "only visits with a vote are judged"
    before = visit.verdict
    verdict = Verdict(consensus.plate, _strict(visit, consensus, rule, rules), visit.look.direction)
    if before is not None and not _says_more(before, verdict, visit):
        return visit, []
    after = replace(visit, verdict=verdict, amendments=visit.amendments + (before is not None))
    best = _best(visit, consensus)
    return after, [Decided(after, at_ms, rule, consensus, verdict.strict, best, before)]


def _says_more(before: Verdict, after: Verdict, visit: Visit) -> bool:
    if visit.amendments >= AMENDMENTS:
        return False
    turned = before.direction != after.direction
    return before.plate != after.plate or (after.strict and not before.strict) or turned


def _strict(visit: Visit, consensus: Consensus, rule: Rule, rules: Rules) -> bool:
    """Good enough to open a gate."""
    several = len(consensus.members) > 1 or any(visit.votes[index].weight > 1 for index in consensus.members)
    return (
        rule != "visit_end"
        and several
        and consensus.plausible
        and consensus.confidence >= rules.open_confidence - _EPSILON
        and consensus.weakest >= rules.open_weakest - _EPSILON
        and consensus.certainty >= rules.open_certainty
    )


def _best(visit: Visit, consensus: Consensus) -> Read:
    """The read that shows the decided plate best: nearest to it, most confident, earliest."""
    members = [visit.votes[index] for index in consensus.members]
    return min(members, key=lambda r: (edit_distance(r.text, consensus.plate), -r.confidence, r.number))
