"""What the engine remembers of one camera, and its form at rest.

All of it is bounded: tracks by MAX_TRACKS, parked objects by MAX_PARKED. Times are integer milliseconds. The structs
are kept as arrays: a field is only ever added at the end, with a default, so that a newer engine reads an older state.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import msgspec

from heldard_zones.engine.geometry import Box

MAX_TRACKS = 2000
MAX_PARKED = 500
NEVER = sys.maxsize

NOT_SAID, SAID, MUTED, TWIN = 0, 1, 2, 3
"""Whether a stay's enter was raised: not yet, yes, never for a cooldown, never for being another one's double."""


class Stay(msgspec.Struct, array_like=True, gc=False):
    """One track in one region, from its first frame inside on.

    seen: last frame in which this zone could see it. since, run: first frame and number of frames of what is being
    confirmed, an enter while `entered` is 0, an exit while `leaving`. said: whether the enter was raised, so that an
    exit is owed. dwell_at: when the next dwell is due, 0 for none. rest_*: where and since when it stands.
    """

    seen: int
    since: int
    run: int
    rest_x: float
    rest_y: float
    rest: int
    entered: int = 0
    leaving: bool = False
    said: int = NOT_SAID
    dwell_at: int = 0
    dwells: int = 0
    static: bool = False
    visit: str = ""


class Walk(msgspec.Struct, array_like=True, gc=False):
    """One track and one line: where it was last seen by it. net: crossings not yet raised, signed; held: frames since
    the last of them; locked: until when further ones wait; crossed: one was raised before."""

    x: float
    y: float
    seen: int
    rest_x: float
    rest_y: float
    rest: int
    static: bool = False
    net: int = 0
    held: int = 0
    locked: int = 0
    crossed: bool = False


class Track(msgspec.Struct, array_like=True, gc=False):
    """One object as its tracker names it. key: (task, epoch, track id); task: the part that outlives an epoch.

    frame: capture time of the last frame it was seen in. before: where it was the time before that. settled: it is no
    more asked whether it is an older track under a new name.
    """

    key: str
    task: str
    track_id: str
    label: str | None
    confidence: float | None
    seen: int
    born: int
    box: Box
    frame: int | None = None
    before: Box | None = None
    before_seen: int = 0
    settled: bool = False
    stays: dict[int, Stay] = {}
    walks: dict[int, Walk] = {}


class Live(msgspec.Struct, array_like=True):
    """One zone's own running figures. count: objects inside that move; static: those that stand.

    over, under, empty: since when the condition holds, 0 when it does not; ..._said: an alarm was raised.
    open, change_at: the schedule's present answer and until when it holds. last: when each type of event was raised.
    shown: the (count, static) that was last reported.
    """

    count: int = 0
    static: int = 0
    over: int = 0
    under: int = 0
    empty: int = 0
    over_said: bool = False
    under_said: bool = False
    empty_said: bool = True
    open: bool = True
    change_at: int = NEVER
    last: dict[str, int] = {}
    shown: tuple[int, int] = (0, 0)


class CameraState:
    """Everything of one camera. next_due: nothing falls due before it (a lower bound).

    tracks: seen lately. parked: standing objects whose track is lost. lives: by zone number. The three are written
    apart, since the first changes with every frame and the others rarely.
    """

    __slots__ = ("dirty_lives", "dirty_parked", "dirty_tracks", "lives", "next_due", "now", "parked", "tracks")

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.parked: dict[str, Track] = {}
        self.lives: dict[int, Live] = {}
        self.now = 0
        self.next_due = 0
        self.dirty_tracks = False
        self.dirty_parked = False
        self.dirty_lives = False

    def is_worth_keeping(self) -> bool:
        """Whether the tracks matter to what comes: a track without stay or line counts only as `known before`,
        which is of no use where there is nothing it could be mistaken for."""
        return bool(self.parked) or any(track.stays or track.walks for track in self.tracks.values())


_ENCODER = msgspec.msgpack.Encoder()
_TRACKS = msgspec.msgpack.Decoder(list[Track])
_LIVES = msgspec.msgpack.Decoder(dict[int, Live])

TRACKS_KEY, PARKED_KEY, LIVES_KEY = "tracks", "parked", "lives"


def encode_tracks(tracks: Mapping[str, Track]) -> bytes:
    return _ENCODER.encode(list(tracks.values()))


def encode_lives(lives: Mapping[int, Live]) -> bytes:
    return _ENCODER.encode(lives)


def decode(blobs: Mapping[str, bytes]) -> CameraState:
    """The state that was kept; an empty one for no blobs. Raises msgspec.DecodeError for what we did not write."""
    state = CameraState()
    if TRACKS_KEY in blobs:
        state.tracks = {track.key: track for track in _TRACKS.decode(blobs[TRACKS_KEY])}
    if PARKED_KEY in blobs:
        state.parked = {track.key: track for track in _TRACKS.decode(blobs[PARKED_KEY])}
    if LIVES_KEY in blobs:
        state.lives = _LIVES.decode(blobs[LIVES_KEY])
    state.now = max((track.seen for track in state.tracks.values()), default=0)
    return state


def copy(state: CameraState) -> CameraState:
    """The same through the form at rest, as after a restart."""
    blobs = {
        TRACKS_KEY: encode_tracks(state.tracks),
        PARKED_KEY: encode_tracks(state.parked),
        LIVES_KEY: encode_lives(state.lives),
    }
    return decode(blobs)
