"""From the readings of one visit to one plate: aligned, character by character, each weighed by its confidence.

The readings that belong together are lined up on the one with most support (as in ROVER: Fiscus, IEEE ASRU 1997),
so a lost or an extra character takes its own column and does not split the vote. In a column each candidate
character t gets the sum over readings of log P(read | t): a reading of confidence p is right with probability p,
and when wrong it is what the confusion weights say. A column may also hold no character. Where the site's shapes
say so, a letter is preferred in a letter's place.

Everything is decided by sums and, on equality, by a fixed order, never by the order of a set.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import msgspec

from heldard_anpr.plates.confusion import Confusions, shipped
from heldard_anpr.plates.formats import Formats, allows

CERTAIN = 0.98
"""A reader's confidence is not believed beyond this: readers are sometimes sure of what is not there."""

SAME_PLATE_SHARE = 0.4
"""Readings whose edit distance is at most this share of the longer one are of the same plate."""

FORBIDDEN_BELIEF = 2.5
"""A confusable reading in a place where the shape forbids it speaks against its place with at most this much (natural
log), however often it is repeated: such a mistake is the reader's habit, and its repetitions are not independent."""

UNSHAPED_PRIOR = 4.0
"""How much better (natural log) a plate without a known shape must explain the readings than one with a shape."""

GAP = ""
_LOST = math.log(0.01)
_EXTRA = math.log(0.005)
_PRESENT = math.log(0.99)


class Vote(msgspec.Struct, frozen=True, gc=False):
    """One reading that takes part. chars: confidence of each character. weight: 1, more for a camera's own reader."""

    text: str
    confidence: float
    chars: tuple[float, ...]
    weight: float = 1.0


class Ballot(msgspec.Struct, frozen=True):
    """The electorate's rules. full_confidence: from which confidence on a character's vote counts in full."""

    formats: Formats = Formats()
    confusions: Confusions = msgspec.field(default_factory=shipped)
    full_confidence: float = 0.9


class Column(msgspec.Struct, frozen=True):
    """One place of the plate. votes: character -> summed votes, `` for none there. share: how sure the winner is."""

    winner: str
    votes: dict[str, float]
    share: float
    second: str


class Consensus(msgspec.Struct, frozen=True):
    """votes: those of its weakest character. confidence: mean over the characters of the votes that agree.
    weakest: the same of the least confident character.
    certainty: probability that every character is right, if the readings were independent.
    runner_up: the plate with the least sure character replaced by its rival. margin: share of the one less the other.
    members: which of the readings took part. shape: of the site, that the plate fits."""

    plate: str
    plausible: bool
    votes: float
    confidence: float
    weakest: float
    certainty: float
    runner_up: str
    margin: float
    columns: tuple[Column, ...]
    members: tuple[int, ...]
    shape: str | None = None


def decide(votes: Sequence[Vote], ballot: Ballot) -> Consensus | None:
    """The plate these readings speak for; None without a reading."""
    if not votes:
        return None
    members, pivot = _electorate(votes, ballot.formats)
    aligned = [_align(pivot, votes[index].text) for index in members]
    columns = _columns(pivot, aligned, [votes[index] for index in members])
    return _consensus([_Tally(column, ballot) for column in columns], members, ballot)


def same_plate(one: str, other: str) -> bool:
    """Whether two readings may be of the same plate."""
    longest = max(len(one), len(other))
    return edit_distance(one, other) <= max(1, int(longest * SAME_PLATE_SHARE))


@functools.lru_cache(maxsize=8192)
def edit_distance(one: str, other: str) -> int:
    """Levenshtein's distance."""
    if one == other:
        return 0
    row = list(range(len(other) + 1))
    for i, character in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, against in enumerate(other, 1):
            diagonal, row[j] = row[j], min(diagonal + (character != against), row[j] + 1, row[j - 1] + 1)
    return row[-1]


# --- who votes together ----------------------------------------------------------------------------------------------


def _electorate(votes: Sequence[Vote], formats: Formats) -> tuple[tuple[int, ...], str]:
    """The readings of the best supported plate, and the text they are lined up on.

    A plausible text goes before any other; then support, then its own weight, then length, then order.
    """
    own: dict[str, float] = {}
    for vote in votes:
        own[vote.text] = own.get(vote.text, 0.0) + vote.weight * max(vote.confidence, 0.01)

    def rank(text: str) -> tuple[bool, float, float, int, str]:
        support = sum(weight for other, weight in own.items() if same_plate(text, other))
        return formats.plausible(text), round(support, 9), round(own[text], 9), len(text), text

    pivot = max(own, key=rank)
    return tuple(index for index, vote in enumerate(votes) if same_plate(pivot, vote.text)), pivot


# --- lining up -------------------------------------------------------------------------------------------------------

_Place = tuple[int, int]  # place of the pivot (or -1: before it is an insertion), place of the reading (or -1)


@functools.lru_cache(maxsize=8192)
def _align(pivot: str, text: str) -> tuple[_Place, ...]:
    """Pairs of places; (i, -1) a lost character, (-1, j) an extra one. Wrong characters go before gaps."""
    rows, columns = len(pivot) + 1, len(text) + 1
    cost = [[1.0 * (i + j) for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            pair = cost[i - 1][j - 1] + _pair(pivot[i - 1], text[j - 1])
            cost[i][j] = min(pair, cost[i - 1][j] + 1.0, cost[i][j - 1] + 1.0)
    places: list[_Place] = []
    i, j = len(pivot), len(text)
    while i or j:
        if i and j and abs(cost[i][j] - cost[i - 1][j - 1] - _pair(pivot[i - 1], text[j - 1])) < 1e-9:
            i, j = i - 1, j - 1
            places.append((i, j))
        elif i and abs(cost[i][j] - cost[i - 1][j] - 1.0) < 1e-9:
            i -= 1
            places.append((i, -1))
        else:
            j -= 1
            places.append((-1, j))
    return tuple(reversed(places))


def _pair(one: str, other: str) -> float:
    if one == other:
        return 0.0
    return 0.7 if shipped().confusable(one, other) else 1.2


class _Ballots(msgspec.Struct):
    """What was read in one place: (character or GAP, its confidence, weight), one entry for each reading."""

    entries: list[tuple[str, float, float]]


def _columns(pivot: str, aligned: Sequence[tuple[_Place, ...]], votes: Sequence[Vote]) -> list[_Ballots]:
    """Columns in order: before each place of the pivot those for extra characters, then the place itself."""
    if all(len(vote.text) == len(places) == len(pivot) for places, vote in zip(aligned, votes, strict=True)):
        return [_Ballots([(v.text[at], v.chars[at], v.weight) for v in votes]) for at in range(len(pivot))]
    extra = [0] * (len(pivot) + 1)
    for places in aligned:
        for slot, count in _insertions(places).items():
            extra[slot] = max(extra[slot], count)
    starts: list[int] = []
    total = 0
    for slot in range(len(pivot) + 1):
        starts.append(total)
        total += extra[slot] + 1
    columns = [_Ballots([]) for _ in range(total - 1)]
    for places, vote in zip(aligned, votes, strict=True):
        for column, entry in zip(columns, _spread(places, vote, starts, extra), strict=True):
            column.entries.append(entry)
    return columns


def _insertions(places: tuple[_Place, ...]) -> dict[int, int]:
    found: dict[int, int] = {}
    slot = 0
    for i, _ in places:
        if i >= 0:
            slot = i + 1
        else:
            found[slot] = found.get(slot, 0) + 1
    return found


def _spread(
    places: tuple[_Place, ...], vote: Vote, starts: Sequence[int], extra: Sequence[int]
) -> list[tuple[str, float, float]]:
    """One reading over all columns; where it has no character, GAP with its overall confidence."""
    row = [(GAP, vote.confidence, vote.weight)] * (starts[-1] + extra[-1])
    slot = used = 0
    for i, j in places:
        if i >= 0:
            at, slot, used = starts[i] + extra[i], i + 1, 0
        else:
            at = starts[slot] + used
            used += 1
        if j >= 0:
            row[at] = (vote.text[j], vote.chars[j], vote.weight)
    return row


# --- counting --------------------------------------------------------------------------------------------------------


class _Heard:
    """All readings of one character in one column, summed: full votes, weight, weighted confidence, and the log
    likelihoods of the readings if they are right, wrong, or of something that is not there."""

    __slots__ = ("believed", "extra", "right", "votes", "weight", "wrong")

    def __init__(self) -> None:
        self.votes = self.weight = self.believed = self.right = self.wrong = self.extra = 0.0

    def add(self, confidence: float, weight: float, full_confidence: float) -> None:
        right, wrong, extra = _logs(confidence)
        self.votes += min(1.0, confidence / full_confidence) * weight
        self.weight += weight
        self.believed += confidence * weight
        self.right += weight * right
        self.wrong += weight * wrong
        self.extra += weight * extra


@functools.lru_cache(maxsize=4096)
def _logs(confidence: float) -> tuple[float, float, float]:
    right = min(max(confidence, 0.05), CERTAIN)
    return math.log(right), math.log(1 - right), _EXTRA + math.log(1.05 - min(confidence, CERTAIN))


class _Tally:
    """The count of one column: votes to show, and how well each candidate explains what was read."""

    def __init__(self, ballots: _Ballots, ballot: Ballot) -> None:
        self.ballot = ballot
        self.heard: dict[str, _Heard] = {}
        for read, confidence, weight in ballots.entries:
            heard = self.heard.get(read)
            if heard is None:
                heard = self.heard[read] = _Heard()
            heard.add(confidence, weight, ballot.full_confidence)
        self.scores = {true: self._score(true) for true in self._candidates()}
        self.best = self.first()

    def _candidates(self) -> list[str]:
        found = dict.fromkeys([*self.heard, GAP])
        if self.ballot.formats.shapes:
            for read in self.heard:
                found.update(dict.fromkeys(self.ballot.confusions.taken_for(read)))
        return list(found)

    def _score(self, true: str) -> float:
        total = 0.0
        for read, heard in self.heard.items():
            if read == GAP:
                total += heard.weight * (_PRESENT if true == GAP else _LOST)
            elif true == GAP:
                total += heard.extra
            elif read == true:
                total += heard.right
            else:
                total += heard.wrong + heard.weight * math.log(self.ballot.confusions.likelihood(read, true))
        return total

    def _order(self, true: str) -> tuple[float, float, str]:
        return -round(self.scores[true], 9), -round(self._votes(true), 9), true

    def _votes(self, character: str) -> float:
        heard = self.heard.get(character)
        return 0.0 if heard is None else heard.votes

    def first(self, sign: str | None = None) -> str | None:
        """The best candidate, of those that a shape's sign allows; without a sign, of all."""
        return min((t for t in self.scores if sign is None or (t and allows(sign, t))), key=self._order, default=None)

    def loss(self, true: str) -> float:
        """How much worse than the best `true` explains the column; limited where only a habit speaks against it."""
        assert self.best is not None
        lost = self.scores[self.best] - self.scores[true]
        if true and self.best and self.ballot.confusions.confusable(true, self.best):
            return min(lost, FORBIDDEN_BELIEF)
        return lost

    def column(self, winner: str, sign: str | None) -> Column:
        """`sign`: what the shape allows here; characters it forbids are no rivals then, and their confusable readings
        count for the winner."""
        rivals = [t for t in self.scores if t != winner and (sign is None or not t or allows(sign, t))]
        best = max([self.scores[winner], *(self.scores[t] for t in rivals)])
        weights = {t: math.exp(self.scores[t] - best) for t in [winner, *rivals]}
        second = min(rivals, key=self._order, default="")
        return Column(winner, self._shown(winner, sign), weights[winner] / sum(weights.values()), second)

    def _shown(self, winner: str, sign: str | None) -> dict[str, float]:
        shown = {read: heard.votes for read, heard in self.heard.items()}
        for read, heard in self.heard.items():
            if self._mistaken(read, winner, sign):
                shown[winner] = shown.get(winner, 0.0) + heard.votes
        return {character: round(count, 3) for character, count in sorted(shown.items())}

    def confidence_of(self, column: Column, sign: str | None) -> float:
        """Mean confidence of the readings that agree with the winner, by weight; 0 when none does. A reading that the
        shape forbids here and that is confusable with the winner agrees as far as the winner is sure."""
        believed = weight = 0.0
        for read, heard in self.heard.items():
            agrees = 1.0 if read == column.winner else column.share if self._mistaken(read, column.winner, sign) else 0
            if agrees:
                believed += heard.believed * agrees
                weight += heard.weight
        return believed / weight if weight else 0.0

    def _mistaken(self, read: str, winner: str, sign: str | None) -> bool:
        """Whether `read` cannot stand here, and is what readers make of the winner."""
        if sign is None or not winner or read in ("", winner) or allows(sign, read):
            return False
        return self.ballot.confusions.confusable(read, winner)


def _consensus(tallies: list[_Tally], members: tuple[int, ...], ballot: Ballot) -> Consensus:
    winners, signs, shape = _choose(tallies, ballot.formats)
    counted = [
        (tally, tally.column(winner, sign), sign) for tally, winner, sign in zip(tallies, winners, signs, strict=True)
    ]
    kept = [row for row in counted if row[1].winner or row[1].share < CERTAIN]
    columns = tuple(column for _, column, _ in kept)
    plate = "".join(winners)
    present = [row for row in kept if row[1].winner]
    weakest = min(range(len(columns)), key=lambda at: (columns[at].share, at))
    rival = "".join(c.second if at == weakest else c.winner for at, c in enumerate(columns))
    believed = [tally.confidence_of(column, sign) for tally, column, sign in present]
    certainty = math.prod(column.share for column in columns)
    return Consensus(
        plate=plate,
        plausible=ballot.formats.plausible(plate),
        votes=round(min((c.votes.get(c.winner, 0.0) for _, c, _ in present), default=0.0), 6),
        confidence=sum(believed) / max(1, len(believed)),
        weakest=min(believed, default=0.0),
        certainty=certainty,
        runner_up=rival,
        margin=2 * columns[weakest].share - 1,
        columns=columns,
        members=members,
        shape=shape,
    )


def _choose(tallies: list[_Tally], formats: Formats) -> tuple[list[str], list[str | None], str | None]:
    """Winners of all columns, the sign of the shape for each, and the shape."""
    free = [tally.best or "" for tally in tallies]
    plate = "".join(free)
    shape = formats.shape_of(plate)
    if shape is None and formats.shapes:
        found = _best_shaped(tallies, plate, formats)
        if found is not None:
            shape, free = found
    if not any(free):
        # Readings that agree on nothing: every column's best character then, rather than an empty plate.
        free = [tally.first("A") or "" for tally in tallies]
    signs: list[str | None] = [None] * len(tallies)
    if shape is not None:
        places = iter(shape)
        signs = [next(places) if winner else None for winner in free]
    return free, signs, shape


def _best_shaped(tallies: list[_Tally], plate: str, formats: Formats) -> tuple[str, list[str]] | None:
    best: tuple[float, str, list[str]] | None = None
    for shape in formats.shapes:
        if abs(len(shape) - len(plate)) > 1 or len(shape) > len(tallies):
            continue
        lost, winners = _fit(tallies, shape)
        if lost <= UNSHAPED_PRIOR and (best is None or (lost, shape) < best[:2]):
            best = (lost, shape, winners)
    return None if best is None else best[1:]


def _fit(tallies: list[_Tally], shape: str) -> tuple[float, list[str]]:
    """The least loss of putting a shape on the columns, leaving the others empty, and the characters chosen."""
    lost: list[tuple[float, list[str]]] = [(0.0, []), *((math.inf, list[str]()) for _ in shape)]
    for tally in tallies:
        step: list[tuple[float, list[str]]] = []
        empty = tally.loss(GAP)
        for at, (so_far, chosen) in enumerate(lost):
            options = [(so_far + empty, [*chosen, GAP])]
            character = tally.first(shape[at - 1]) if at else None
            if character is not None:
                options.append((lost[at - 1][0] + tally.loss(character), [*lost[at - 1][1], character]))
            step.append(min(options, key=lambda option: option[0]))
        lost = step
    return lost[-1]
