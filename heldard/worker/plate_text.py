"""From what an OCR library read on a vehicle to the text of its plate. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_KEPT = re.compile(r"[^0-9A-Z]")

SHORTEST, LONGEST = 3, 10


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text found in a picture. confidence: 0..1. characters: (character, confidence) one by one, as long as
    the text, or empty where the library does not say. box: (x, y, width, height) in the pixels it was found in."""

    text: str
    confidence: float
    characters: tuple[tuple[str, float], ...] = ()
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class PlateText:
    """A plate's text: upper-case ASCII letters and digits. character_confidences: one per character, or empty."""

    text: str
    confidence: float
    character_confidences: tuple[float, ...] = ()
    box: tuple[float, float, float, float] | None = None


def normalised(text: str) -> str:
    """Upper case, ASCII letters and digits only: `abc 1234` becomes `ABC1234`."""
    return _KEPT.sub("", text.upper())


def plausible(text: str) -> bool:
    """Could be a plate: 3 to 10 characters with a letter and a digit."""
    return (
        SHORTEST <= len(text) <= LONGEST
        and any(c.isdigit() for c in text)
        and any(c.isalpha() for c in text)
        and normalised(text) == text
    )


def plate_of(lines: Sequence[TextLine], pattern: re.Pattern[str] | None = None) -> PlateText | None:
    """The line that is most likely a plate, None where none could be one. Ties go to the first.

    pattern: if given, a plate must match it whole.
    """
    best: PlateText | None = None
    for line in lines:
        plate = _read(line)
        fits = pattern is None or pattern.fullmatch(plate.text) is not None
        if fits and plausible(plate.text) and (best is None or plate.confidence > best.confidence):
            best = plate
    return best


def _read(line: TextLine) -> PlateText:
    """The line without what is not of a plate, its confidences with it."""
    kept = [(normalised(character), confidence) for character, confidence in line.characters]
    text = normalised(line.text)
    confidences = tuple(confidence for character, confidence in kept for _ in character)
    if "".join(character for character, _ in kept) != text:
        confidences = ()
    return PlateText(text, line.confidence, confidences, line.box)
