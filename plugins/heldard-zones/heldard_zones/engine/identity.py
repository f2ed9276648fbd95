"""Which track is which: one detection per track, and old tracks that come back under a new name.

A tracker that loses an object and finds it again gives it a new id; a restarted worker counts from 1 again. A track
that appears where one of the same task was just lost is taken to be that one, and a track that appears on a
remembered standing object is that object. Ids are never compared across tasks or epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heldard.plugin import Batch, Detection
from heldard_zones.engine.geometry import Box, intersection_over_union
from heldard_zones.engine.state import MAX_TRACKS, CameraState, Track

STITCH_MS = 2000
"""How long a moving object may be lost and still be taken for the one that appears in its place."""
STITCH_OVERLAP = 0.3
"""How much the new box must overlap the lost one, moved on at its last speed for at most a second."""
STANDING_MS = 10_000
"""From when on something that does not move counts as standing, for being told again."""
SETTLE_MS = 1000
"""How long after a track's birth it may still turn out to be an older one: trackers show both for a frame or two."""
LOST_MS = 5_000
"""How long a track that is in no zone stays known, so that it is not taken for a new one."""
CROWDED, REMEMBERED = 200, 100
"""From how many tracks on only this many of the lost ones are kept."""
MOST_LOST = 200
"""How many moving tracks may be lost at once before none of them is looked for under a new name."""
PARKED_OVERLAP = 0.5
OTHER_LABEL_OVERLAP = 0.7
"""The overlap that tells a parked object again; more is asked when the detector changed its mind about the label."""
PARKED_DISTANCE_SQUARED = 0.02**2


def best_per_track(detections: Iterable[Detection]) -> dict[str, Detection]:
    """By track id, the most confident detection that has a box; the first among equals. Untracked ones are left out."""
    best: dict[str, Detection] = {}
    for detection in detections:
        track_id = detection.track_id
        if track_id is None or detection.bbox is None:
            continue
        other = best.get(track_id)
        if other is None or (detection.confidence or 0.0) > (other.confidence or 0.0):
            best[track_id] = detection
    return best


def identify(state: CameraState, batch: Batch, at: int) -> list[tuple[Track, Detection]]:
    """Every tracked detection of the batch with its track, moved there; new tracks are made, found ones renamed.

    A detection is left out when the camera already has MAX_TRACKS tracks.
    """
    task = batch.task_id or batch.task_type
    prefix = f"{task}|{batch.epoch}|"
    tracks, captured = state.tracks, batch.captured_ms
    found: list[tuple[Track | None, Detection]] = []
    certain = True
    for track_id, detection in best_per_track(batch.detections).items():
        track = tracks.get(prefix + track_id)
        if track is None:
            certain = False
        else:
            _move(track, detection, at, captured)
            if not track.settled:
                certain = False
        found.append((track, detection))
    if certain and not state.parked:
        return found  # type: ignore[return-value]  # every track is known
    lost = _Lost(state, task, at)
    return [
        (track, detection)
        for known, detection in found
        if (track := _resolve(state, lost, known, detection, prefix, captured)) is not None
    ]


def _move(track: Track, detection: Detection, at: int, captured: int | None) -> None:
    box = detection.bbox
    assert box is not None
    if track.seen != at:
        track.before, track.before_seen, track.seen = track.box, track.seen, at
    track.box, track.frame, track.confidence = box, captured, detection.confidence
    if detection.label is not None:
        track.label = detection.label


def _resolve(
    state: CameraState, lost: _Lost, known: Track | None, detection: Detection, prefix: str, captured: int | None
) -> Track | None:
    if known is not None and (known.settled or any(stay.entered for stay in known.stays.values())):
        known.settled = True
        return _rejoin(state, known)
    track_id, box, at = detection.track_id, detection.bbox, lost.at
    assert track_id is not None
    assert box is not None
    key = prefix + track_id
    older = state.parked.get(key) or lost.find(key, detection.label, box)
    if older is not None:
        return _take_over(state, older, key, detection, at, captured)
    if known is not None:
        known.settled = at - known.born > SETTLE_MS
        return known
    if len(state.tracks) >= CROWDED and not lost.made_room:
        lost.made_room = True
        _make_room(state, at)
    if len(state.tracks) >= MAX_TRACKS:
        return None
    track = Track(key, lost.task, track_id, detection.label, detection.confidence, at, at, box, captured)
    state.tracks[key] = track
    return track


def _make_room(state: CameraState, at: int) -> None:
    """Forget tracks that only a line remembers, all but those lost last: a tracker that gives everything a new name
    would have the state grow, and it is written with every batch."""
    gone = [track for track in state.tracks.values() if not track.stays and at - track.seen > LOST_MS]
    gone.sort(key=lambda track: track.seen)
    for track in gone[:-REMEMBERED]:
        del state.tracks[track.key]


def _rejoin(state: CameraState, track: Track) -> Track:
    """A track that is still known for its line takes back its parked stays."""
    parked = state.parked.pop(track.key, None)
    if parked is not None:
        track.stays.update(parked.stays)
        state.dirty_parked = True
    return track


def _take_over(
    state: CameraState, older: Track, key: str, detection: Detection, at: int, captured: int | None
) -> Track:
    """The older track goes on under the new key, with what it has in other zones and what the new one began."""
    halves = [state.parked.pop(older.key, None), state.tracks.pop(older.key, None)]
    state.dirty_parked = state.dirty_parked or halves[0] is not None
    for other in (*halves, state.tracks.pop(key, None)):
        if other is not None and other is not older:
            older.stays = {**other.stays, **older.stays}
            older.walks = {**other.walks, **older.walks}
    assert detection.track_id is not None
    older.key, older.track_id, older.settled = key, detection.track_id, True
    _move(older, detection, at, captured)
    state.tracks[key] = older
    return older


class _Lost:
    """The tracks of one task that a new one could be: standing ones, seen last whenever, and moving ones lost just now.

    Made once a batch. A box that touches none of them, which is the rule, costs a few comparisons each.
    """

    def __init__(self, state: CameraState, task: str, at: int) -> None:
        self.task, self.at = task, at
        self.made_room = False
        moving, standing = [], list(state.parked.values())
        for track in state.tracks.values():
            if track.seen < at and track.task == task and (track.stays or track.walks):
                if any(stay.static or track.seen - stay.rest >= STANDING_MS for stay in track.stays.values()):
                    standing.append(track)
                elif at - track.seen <= STITCH_MS:
                    moving.append(track)
        # Of too many at once nobody can tell which is which: then every track is taken by its name.
        moving = [] if len(moving) > MOST_LOST else moving
        expected = [(_expected(track, at - track.seen), track, False) for track in moving]
        expected += [(track.box, track, True) for track in standing if track.task == task]
        self._places = [(x, y, x + w, y + h, track, stands) for (x, y, w, h), track, stands in expected]

    def find(self, key: str, label: str | None, box: Box) -> Track | None:
        """The lost track that this new one is, or None. The best overlap wins."""
        x, y, w, h = box
        right, bottom = x + w, y + h
        best, best_overlap = None, 0.0
        for left, top, far, low, track, stands in self._places:
            if left >= right or far <= x or top >= bottom or low <= y or track.seen == self.at or track.key == key:
                continue
            overlap = intersection_over_union((left, top, far - left, low - top), box)
            if overlap > best_overlap and _is_same(track, stands, label, box, overlap):
                best, best_overlap = track, overlap
        return best


def _is_same(track: Track, stands: bool, label: str | None, box: Box, overlap: float) -> bool:
    if stands and is_same_standing(track, label, box, overlap):
        return True
    return overlap >= (STITCH_OVERLAP if track.label == label and not stands else OTHER_LABEL_OVERLAP)


def _expected(track: Track, lost_ms: int) -> Box:
    """Where it would be had it gone on at its last speed, for a second at most."""
    x, y, w, h = track.box
    if track.before is None or track.before_seen >= track.seen:
        return track.box
    ahead = min(lost_ms, 1000) / (track.seen - track.before_seen)
    return x + (x - track.before[0]) * ahead, y + (y - track.before[1]) * ahead, w, h


def is_same_standing(track: Track, label: str | None, box: Box, overlap: float) -> bool:
    """Whether a box is the standing object: same label and place, or so much overlap that the label was a mistake."""
    if track.label != label:
        return overlap >= OTHER_LABEL_OVERLAP
    if overlap >= PARKED_OVERLAP:
        return True
    x, y, w, h = track.box
    dx, dy = x + w / 2 - box[0] - box[2] / 2, y + h - box[1] - box[3]
    return overlap > 0 and dx * dx + dy * dy < PARKED_DISTANCE_SQUARED


def twin_of(tracks: Sequence[Track], track: Track, number: int) -> bool:
    """Whether a standing object of this zone is seen twice: another track of the same task on the same spot."""
    for other in tracks:
        stay = other.stays.get(number)
        if other is not track and other.task == track.task and stay is not None and stay.static:
            overlap = intersection_over_union(other.box, track.box)
            if overlap >= PARKED_OVERLAP and is_same_standing(other, track.label, track.box, overlap):
                return True
    return False
