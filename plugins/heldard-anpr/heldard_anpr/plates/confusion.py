"""Which character is taken for which, and how often.

The weights are data: `confusions.json`, made by `tools/make_confusions.py`, whose head says how. Corrections by
reviewers are counted on top. Letters of other scripts that look the same as a Latin one are added here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.resources import files

import msgspec

CONFUSABLE_SHARE = 0.15
"""From which share of the wrong readings on two characters count as confusable."""

PRIOR_COUNT = 50
"""How many counted wrong readings of a character weigh as much as the shipped data."""

_FLOOR = 0.1
_ALPHABET = 36
_LOOK_ALIKE = dict(zip("АВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXIJSABEZHIKMNOPTYX", strict=True))  # noqa: RUF001
_LOOK_ALIKE_SHARE = 0.95


class _Document(msgspec.Struct, frozen=True):
    weights: dict[str, dict[str, float]]


class Confusions(msgspec.Struct, frozen=True):
    """weights[t][o]: the share of `o` among the wrong readings of a printed `t`."""

    weights: dict[str, dict[str, float]]

    def likelihood(self, read: str, true: str) -> float:
        """Probability that a wrong reading of `true` is `read`; never 0."""
        return (1 - _FLOOR) * self.weights.get(true, {}).get(read, 0.0) + _FLOOR / _ALPHABET

    def share(self, one: str, other: str) -> float:
        """How easily the two are taken for each other, 0..1, the same both ways."""
        if _LOOK_ALIKE.get(one, one) == _LOOK_ALIKE.get(other, other):
            return _LOOK_ALIKE_SHARE
        one, other = _LOOK_ALIKE.get(one, one), _LOOK_ALIKE.get(other, other)
        return max(self.weights.get(one, {}).get(other, 0.0), self.weights.get(other, {}).get(one, 0.0))

    def confusable(self, one: str, other: str) -> bool:
        return self.share(one, other) >= CONFUSABLE_SHARE

    def taken_for(self, read: str) -> tuple[str, ...]:
        """The characters that `read` may in truth be, most likely first, `read` itself left out."""
        found = [(row.get(read, 0.0), true) for true, row in self.weights.items() if row.get(read, 0.0) >= 0.05]
        return tuple(true for _, true in sorted(found, key=lambda pair: (-pair[0], pair[1])))


@functools.cache
def shipped() -> Confusions:
    """The weights that come with the package."""
    raw = files(__package__).joinpath("confusions.json").read_bytes()
    return Confusions(msgspec.json.decode(raw, type=_Document).weights)


def learned(base: Confusions, counts: Iterable[tuple[str, str, int]]) -> Confusions:
    """`base` with counted corrections (true, read, how often) on top: each row is the mean, weighted by counts."""
    rows: dict[str, dict[str, int]] = {}
    for true, read, count in counts:
        if true != read and count > 0:
            row = rows.setdefault(true, {})
            row[read] = row.get(read, 0) + count
    if not rows:
        return base
    return Confusions(base.weights | {true: _mixed(base.weights.get(true, {}), row) for true, row in rows.items()})


def _mixed(prior: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    total = PRIOR_COUNT + sum(counts.values())
    reads = sorted({*prior, *counts})
    return {read: (PRIOR_COUNT * prior.get(read, 0.0) + counts.get(read, 0)) / total for read in reads}
