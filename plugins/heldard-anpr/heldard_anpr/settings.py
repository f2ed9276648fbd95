"""The section `[plugins.anpr]`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from heldard_anpr.engine.model import Direction, Rules
from heldard_anpr.engine.voting import Ballot
from heldard_anpr.plates.confusion import Confusions
from heldard_anpr.plates.formats import formats

Share = Annotated[float, Meta(ge=0, le=1)]


class HttpRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to a relay. In url, body and header values `{port}`, `{pulse_ms}`, `{camera_id}` and `{event_id}` are
    replaced."""

    url: Annotated[str, Meta(pattern="^https?://")]
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    body: str | None = None


class HttpRelay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="http"):
    """Opens by HTTP. `off`: sent after the pulse; without it the relay falls back by itself. secret_header: name of a
    header whose value is read from `secret_file` at each opening."""

    on: HttpRequest
    off: HttpRequest | None = None
    secret_header: str | None = None
    secret_file: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 5.0


class CommandRelay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="command"):
    """Opens by running a program, never through a shell. The same words are replaced as in HttpRequest. Without `off`
    the program does the whole pulse."""

    on: Annotated[list[str], Meta(min_length=1)]
    off: list[str] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0


class SimulatedRelay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="simulated"):
    """Opens nothing; records that it would have. For trying out a site's rules."""


Relay = HttpRelay | CommandRelay | SimulatedRelay


class CameraSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one camera. direction: of vehicles that it sees, where the worker does not say.
    actuator: what opens the gate there; without one, nothing does."""

    direction: Direction = "unknown"
    actuator: Relay | None = None


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days that visits are kept, by how they ended. `unread`: those without a plate."""

    matched: Annotated[int, Meta(ge=1)] = 365
    unmatched: Annotated[int, Meta(ge=1)] = 365
    exception: Annotated[int, Meta(ge=1)] = 365
    blocked: Annotated[int, Meta(ge=1)] = 365
    unread: Annotated[int, Meta(ge=1)] = 30


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    regions: Annotated[list[str], Meta(description="Plate regions of the site, such as GB; empty: any plate")] = []
    patterns: Annotated[list[str], Meta(description="More plate patterns, such as 'LL N{1,4}'")] = []
    min_length: Annotated[int, Meta(ge=1, le=16, description="Shortest plausible plate")] = 4
    max_length: Annotated[int, Meta(ge=1, le=16, description="Longest plausible plate")] = 10
    need_letter: Annotated[bool, Meta(description="A plate that fits no pattern needs a letter")] = True
    need_digit: Annotated[bool, Meta(description="A plate that fits no pattern needs a digit")] = True
    floor: Annotated[Share, Meta(description="Reads less confident than this do not vote")] = 0.5
    full_confidence: Annotated[float, Meta(gt=0, le=1, description="From here a vote counts in full")] = 0.9
    min_votes: Annotated[float, Meta(ge=1, le=50, description="Full votes every character needs")] = 3.0
    agree_s: Annotated[float, Meta(ge=0, le=60, description="Or this much time with one plate ahead")] = 1.5
    agree_votes: Annotated[float, Meta(gt=0, le=50, description="Votes that agreement by time needs")] = 1.5
    visit_gap_s: Annotated[float, Meta(ge=1, le=600, description="Unseen for so long, a visit is over")] = 10.0
    reuse_gap_s: Annotated[float, Meta(ge=0, le=600, description="Pause after which a track may be another car")] = 3.0
    repeat_s: Annotated[float, Meta(ge=0, le=86400, description="The same plate again is the same event")] = 300.0
    open_confidence: Annotated[Share, Meta(description="Mean confidence an opening needs")] = 0.9
    open_weakest: Annotated[Share, Meta(description="The same of its least confident character")] = 0.8
    open_certainty: Annotated[Share, Meta(description="Probability of the plate an opening needs")] = 0.99
    notice_distance: Annotated[float, Meta(ge=0, le=2, description="Listed plates this near are a notice")] = 1.0
    open_reach: Annotated[
        Literal["exact", "sole_confusion"], Meta(description="What opens: the listed plate, or one confusion from it")
    ] = "exact"
    twins: Annotated[
        Literal["refuse", "exact_wins"], Meta(description="The plate read is listed, and another near it is too")
    ] = "refuse"
    opening_expiry_s: Annotated[float, Meta(gt=0, le=60, description="An opening is not carried out later")] = 10.0
    tailgate_s: Annotated[float, Meta(ge=0, le=300, description="Another car gone so soon after an opening")] = 15.0
    max_stay_h: Annotated[float, Meta(ge=0, description="Longer inside is an overstay; 0: none")] = 0.0
    hash_unmatched: Annotated[bool, Meta(description="Store unmatched plates only as a keyed hash")] = False
    retention_days: Annotated[Retention, Meta(description="Days that visits are kept, by how they ended")] = Retention()
    cameras: Annotated[dict[str, CameraSettings], Meta(description="By camera id")] = {}

    def rules(self, confusions: Confusions) -> Rules:
        """The engine's rules. Raises ValueError for an unknown region or a broken pattern."""
        shapes = formats(
            tuple(self.regions), tuple(self.patterns), min_length=self.min_length, max_length=self.max_length,
            need_letter=self.need_letter, need_digit=self.need_digit,
        )  # fmt: skip
        return Rules(
            ballot=Ballot(shapes, confusions, self.full_confidence),
            floor=self.floor,
            min_votes=self.min_votes,
            agree_ms=round(self.agree_s * 1000),
            agree_votes=self.agree_votes,
            visit_gap_ms=round(self.visit_gap_s * 1000),
            reuse_gap_ms=round(self.reuse_gap_s * 1000),
            open_confidence=self.open_confidence,
            open_weakest=self.open_weakest,
            open_certainty=self.open_certainty,
        )

    def direction_of(self, camera_id: str) -> Direction:
        return self.cameras.get(camera_id, CameraSettings()).direction
