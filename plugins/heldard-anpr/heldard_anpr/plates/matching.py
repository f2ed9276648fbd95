"""How far apart two plates are, when readers confuse some characters more than others.

`distance` is the cheapest alignment of two texts (Needleman and Wunsch, J. Mol. Biol. 48, 1970) with these costs:
a confusable pair 1 - its share, another pair OTHER_COST, a lost or extra character GAP_COST. Where the shape of the
site's plates forbids the character that was read and allows the listed one, the pair costs a fifth: such a reading
can only be a mistake.
"""

from __future__ import annotations

import itertools

import msgspec

from heldard_anpr.plates.confusion import Confusions
from heldard_anpr.plates.formats import Formats, allows

OTHER_COST = 1.5
GAP_COST = 1.0
FORBIDDEN_FACTOR = 0.2
KEY_DELETIONS = 2
LENGTH_LIMIT = 16
"""Texts longer than this are no plates; the first so many characters are compared."""


class Substitution(msgspec.Struct, frozen=True):
    """Where a reading differs from a listed plate. `listed` or `read` is empty for a lost or an extra character.

    position: of the listed plate, from 0. confusable: the pair is known to be confused.
    """

    position: int
    read: str
    listed: str
    confusable: bool
    cost: float


class Match(msgspec.Struct, frozen=True):
    distance: float
    substitutions: tuple[Substitution, ...]

    @property
    def exact(self) -> bool:
        return not self.substitutions

    @property
    def sole_confusion(self) -> bool:
        """One character differs, and it is one that readers confuse."""
        return len(self.substitutions) == 1 and self.substitutions[0].confusable


def compare(read: str, listed: str, confusions: Confusions, formats: Formats) -> Match:
    """How `read` became `listed`, at the least cost; on equal cost substitutions before gaps."""
    read, listed = read[:LENGTH_LIMIT], listed[:LENGTH_LIMIT]
    if read == listed:
        return Match(0.0, ())
    shape = formats.shape_of(listed)
    if len(read) == len(listed) and (swapped := _in_place(read, listed, shape, confusions)) is not None:
        return swapped
    rows, columns = len(read) + 1, len(listed) + 1
    best = [[float(i + j) * GAP_COST for j in range(columns)] for i in range(rows)]
    for i, j in itertools.product(range(1, rows), range(1, columns)):
        pair = _pair_cost(read[i - 1], listed[j - 1], j - 1, shape, confusions)
        best[i][j] = min(best[i - 1][j - 1] + pair, best[i - 1][j] + GAP_COST, best[i][j - 1] + GAP_COST)
    return Match(round(best[-1][-1], 3), _walk_back(read, listed, best, shape, confusions))


def within(read: str, listed: str, limit: float, confusions: Confusions, formats: Formats) -> Match | None:
    """`compare`, or None when the distance is over `limit`; much quicker when it is far over."""
    if limit < 2 * GAP_COST:
        # Texts whose lengths differ by two need two gaps; texts of one length that need a gap need two.
        if abs(len(read) - len(listed)) * GAP_COST > limit:
            return None
        if len(read) == len(listed) <= LENGTH_LIMIT:
            found = _in_place(read, listed, formats.shape_of(listed), confusions)
            return found if found is not None and found.distance <= limit else None
    match = compare(read, listed, confusions, formats)
    return match if match.distance <= limit else None


def _in_place(read: str, listed: str, shape: str | None, confusions: Confusions) -> Match | None:
    """Texts of one length compared place by place; None where lost and extra characters may be cheaper, of which there
    would be at least one each."""
    found: list[Substitution] = []
    total = 0.0
    for at, (one, other) in enumerate(zip(read, listed, strict=True)):
        if one == other:
            continue
        cost = _pair_cost(one, other, at, shape, confusions)
        total += cost
        if total > 2 * GAP_COST:
            return None
        found.append(Substitution(at, one, other, confusions.confusable(one, other), round(cost, 3)))
    return Match(round(total, 3), tuple(found))


def _pair_cost(read: str, listed: str, position: int, shape: str | None, confusions: Confusions) -> float:
    if read == listed:
        return 0.0
    cost = 1 - confusions.share(read, listed) if confusions.confusable(read, listed) else OTHER_COST
    if shape is not None and not allows(shape[position], read):
        cost *= FORBIDDEN_FACTOR
    return cost


def _walk_back(
    read: str, listed: str, best: list[list[float]], shape: str | None, confusions: Confusions
) -> tuple[Substitution, ...]:
    found: list[Substitution] = []
    i, j = len(read), len(listed)
    while i or j:
        pair = _pair_cost(read[i - 1], listed[j - 1], j - 1, shape, confusions) if i and j else 0.0
        if i and j and abs(best[i][j] - best[i - 1][j - 1] - pair) < 1e-9:
            i, j = i - 1, j - 1
            if pair or read[i] != listed[j]:
                known = confusions.confusable(read[i], listed[j])
                found.append(Substitution(j, read[i], listed[j], known, round(pair, 3)))
        elif i and abs(best[i][j] - best[i - 1][j] - GAP_COST) < 1e-9:
            i -= 1
            found.append(Substitution(j, read[i], "", False, GAP_COST))
        else:
            j -= 1
            found.append(Substitution(j, "", listed[j], False, GAP_COST))
    return tuple(reversed(found))


def keys(plate: str) -> frozenset[str]:
    """The plate and what is left of it without one or two characters.

    Two plates that are within two edits share a key, so equal keys find every entry that `compare` may call near
    without reading the whole list (the symmetric delete method).
    """
    plate = plate[:LENGTH_LIMIT]
    found = {plate}
    for count in range(1, min(KEY_DELETIONS, len(plate) - 1) + 1):
        found.update("".join(kept) for kept in itertools.combinations(plate, len(plate) - count))
    return frozenset(found)
