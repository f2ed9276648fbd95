"""What the plate engine takes in, remembers and gives out. Times are milliseconds since the epoch, all from batches."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from heldard.plugin import Box
from heldard_anpr.engine.voting import Ballot, Consensus

Direction = Literal["inbound", "outbound", "unknown"]
Fate = Literal["vote", "below_floor", "same_frame", "doubted", "weaker"]
Rule = Literal["votes", "agreement", "visit_end"]

VOTES_KEPT = 32
"""Readings of one visit that take part in its vote; a better one takes the place of the weakest."""

READS_NOTED = 64
"""Readings of one visit that are written down; later ones are only counted."""

FRAMES_KEPT = 8
"""Frames of a visit that are remembered, so that another task's reading of one is no second vote."""

VISITS_OPEN = 64
"""Visits of one camera that may be open at once; beyond, the one unseen for longest ends."""

AMENDMENTS = 8
"""How often the decision of one visit may be amended."""


class Rules(msgspec.Struct, frozen=True):
    """How reads become a decision. Lengths of time in ms.

    floor: reads below do not vote. min_votes: full votes that every character needs. agree_ms and agree_votes: or
    this much time without another plate leading, and these votes. visit_gap_ms: unseen for so long, a visit is over.
    reuse_gap_ms: a track unseen for so long that comes back with another plate is another vehicle. open_confidence,
    open_weakest (of the least confident character), open_certainty: what a decision needs to be strict, that is, good
    enough to open a gate. missing_confidence: of a
    read that brings none; native_confidence: the same for a camera's own reader.
    """

    ballot: Ballot = msgspec.field(default_factory=Ballot)
    floor: float = 0.5
    min_votes: float = 3.0
    agree_ms: int = 1500
    agree_votes: float = 1.5
    visit_gap_ms: int = 10_000
    reuse_gap_ms: int = 3000
    open_confidence: float = 0.9
    open_weakest: float = 0.8
    open_certainty: float = 0.99
    join_distance: float = 1.0
    missing_confidence: float = 0.5
    native_confidence: float = 0.9


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """One vehicle in one frame, with the plate that was read, if one was. text is the normal form."""

    index: int
    track: str | None
    raw: str = ""
    text: str = ""
    confidence: float | None = None
    chars: tuple[float, ...] = ()
    plate_box: Box | None = None
    vehicle_box: Box | None = None
    detection_confidence: float | None = None
    direction: Direction = "unknown"
    vehicle_type: str = ""
    color: str = ""
    make: str = ""
    model: str = ""
    model_versions: dict[str, Any] | None = None


class Seen(msgspec.Struct, frozen=True):
    """What one analysed frame showed."""

    seq: int
    at_ms: int
    camera_id: str
    sightings: tuple[Sighting, ...]
    captured_ms: int | None = None
    frame_id: str | None = None
    site_id: str | None = None
    native: bool = False
    producer: str = ""


class Read(msgspec.Struct, frozen=True, gc=False):
    """One reading of a plate in a visit. number: counts from 0 within it. weight: 1, or min_votes of a camera's own."""

    number: int
    at_ms: int
    raw: str
    text: str
    confidence: float
    chars: tuple[float, ...]
    weight: float = 1.0
    captured_ms: int | None = None
    frame_id: str | None = None
    track: str | None = None
    plate_box: Box | None = None
    vehicle_box: Box | None = None


class Trait(msgspec.Struct, frozen=True, gc=False):
    value: str = ""
    confidence: float = -1.0


class Look(msgspec.Struct, frozen=True):
    """What the vehicle looks like and who says so: each trait as of the most confident detection."""

    vehicle_type: Trait = Trait()
    color: Trait = Trait()
    make: Trait = Trait()
    model: Trait = Trait()
    direction: Direction = "unknown"
    model_versions: dict[str, Any] = {}
    native: bool = False
    producer: str = ""


class Lead(msgspec.Struct, frozen=True):
    """The plate ahead after the last vote, since when, and the votes of its weakest character."""

    plate: str = ""
    since_ms: int = 0
    votes: float = 0.0


class Verdict(msgspec.Struct, frozen=True):
    """A decision as the engine remembers it."""

    plate: str
    strict: bool
    direction: Direction


class Visit(msgspec.Struct, frozen=True):
    """A vehicle in front of a camera. id: `vis_` and 32 hex digits, the same however often
    its first batch is played."""

    id: str
    camera_id: str
    started_ms: int
    seen_ms: int
    site_id: str | None = None
    tracks: dict[str, int] = {}
    votes: tuple[Read, ...] = ()
    doubts: tuple[Read, ...] = ()
    reads: int = 0
    sightings: int = 0
    frames: tuple[str, ...] = ()
    best: float = -1.0
    look: Look = Look()
    lead: Lead = Lead()
    verdict: Verdict | None = None
    amendments: int = 0


class CameraState(msgspec.Struct, frozen=True):
    """Open visits of one camera by id, in order of their start."""

    visits: dict[str, Visit] = {}


class Noted(msgspec.Struct, frozen=True):
    """A read was taken in. keep: its frame is worth keeping, it is the best so far."""

    visit_id: str
    camera_id: str
    started_ms: int
    read: Read
    fate: Fate
    keep: bool = False


class Decided(msgspec.Struct, frozen=True):
    """A visit has a plate. best: the read that shows it best. amends: an earlier decision of the visit."""

    visit: Visit
    at_ms: int
    rule: Rule
    consensus: Consensus
    strict: bool
    best: Read
    amends: Verdict | None = None


class Ended(msgspec.Struct, frozen=True):
    """A visit is over: unseen since `visit.seen_ms`."""

    visit: Visit
    at_ms: int


Outcome = Noted | Decided | Ended
