"""What plates of a region look like: patterns, expanded into one class per position.

A shape is a text with one sign per position: `L` a letter, `N` a digit, `A` either, `H` a Han character; anything
else stands for itself. The patterns of regions are data, `regions.json`.
"""

from __future__ import annotations

import functools
import itertools
import re
from importlib.resources import files

import msgspec

SHAPE_LIMIT = 2000
"""How many shapes the patterns of one site may expand to."""

_PART = re.compile(r"(.)(?:\{(\d+)(?:,(\d+))?\})?")


class _Regions(msgspec.Struct, frozen=True):
    notation: str
    regions: dict[str, list[str]]


@functools.cache
def regions() -> dict[str, list[str]]:
    """Patterns by region code, as shipped."""
    return msgspec.json.decode(files(__package__).joinpath("regions.json").read_bytes(), type=_Regions).regions


def expand(pattern: str) -> tuple[str, ...]:
    """Every shape of a pattern such as `LL N{1,4}`. Raises ValueError when it is none, or stands for too many."""
    choices: list[list[str]] = []
    total = 1
    for sign, low, high in _parts(pattern):
        choices.append([sign * count for count in range(low, high + 1)])
        total *= high - low + 1
        if total > SHAPE_LIMIT:
            raise ValueError(f"plate pattern {pattern!r} stands for more than {SHAPE_LIMIT} shapes: narrow its ranges")
    return tuple(sorted({"".join(parts) for parts in itertools.product(*choices)} - {""}))


def _parts(pattern: str) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    rest = re.sub(r"[\s-]", "", pattern)
    while rest:
        part = _PART.match(rest)
        if part is None or part[1] in "{}":
            raise ValueError(f"plate pattern {pattern!r} cannot be read at {rest!r}: write signs and {{n}} or {{n,m}}")
        low = int(part[2] or 1)
        high = int(part[3] or low) if part[2] else 1
        if low > high or high > 16:
            raise ValueError(f"plate pattern {pattern!r}: {part[0]!r} repeats {low} to {high} times, not 0 to 16")
        found.append((part[1], low, high))
        rest = rest[part.end() :]
    return found


def allows(sign: str, character: str) -> bool:
    """Whether a character may stand where a shape has this sign."""
    if sign == "N":
        return character.isdigit()
    if sign == "L":
        return character.isalpha()
    if sign == "A":
        return character.isalnum()
    if sign == "H":
        return "\u4e00" <= character <= "\u9fff"
    return sign.upper() == character


def fits(shape: str, plate: str) -> bool:
    return len(shape) == len(plate) and all(map(allows, shape, plate))


class Formats(msgspec.Struct, frozen=True):
    """Which readings count as plates at a site.

    shapes: those of its regions and own patterns; with none, any. A plate that fits a shape is plausible. One that
    fits none (a vanity plate, a visitor from abroad) is plausible by length and, where asked for, by having at least
    one letter and one digit.
    """

    shapes: tuple[str, ...] = ()
    min_length: int = 4
    max_length: int = 10
    need_letter: bool = True
    need_digit: bool = True

    def shape_of(self, plate: str) -> str | None:
        """The first shape the plate fits, or None."""
        return next((shape for shape in self.shapes if fits(shape, plate)), None)

    def plausible(self, plate: str) -> bool:
        if plate and self.shape_of(plate) is not None:
            return True
        return (
            self.min_length <= len(plate) <= self.max_length
            and (not self.need_letter or any(c.isalpha() for c in plate))
            and (not self.need_digit or any(c.isdigit() for c in plate))
        )


def formats(region_codes: tuple[str, ...], patterns: tuple[str, ...] = (), **limits: int | bool) -> Formats:
    """Formats of a site. Raises ValueError for an unknown region or a broken pattern, naming it."""
    known = regions()
    shapes: list[str] = []
    for code in region_codes:
        if code not in known:
            raise ValueError(f"no plate region {code!r}; there are {', '.join(sorted(known))}")
        for pattern in known[code]:
            shapes.extend(expand(pattern))
    for pattern in patterns:
        shapes.extend(expand(pattern))
    return Formats(tuple(dict.fromkeys(shapes)), **limits)  # type: ignore[arg-type]
