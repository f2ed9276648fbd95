"""The normal form of a plate: what two readings must share to be the same plate."""

from __future__ import annotations

import functools
import unicodedata


@functools.lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    """Letters and digits of any script, upper-cased; everything else goes. Digits of any script become 0-9.

    Compatibility forms are folded (full-width letters, ligatures), accents stay. Applying it twice changes nothing.
    """
    if text.isascii():
        return "".join(filter(str.isalnum, text)).upper()
    while (shorter := _once(text)) != text:
        text = shorter
    return text


def _once(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).upper())
    return "".join(_digit(character) for character in folded if character.isalpha() or character.isdecimal())


def _digit(character: str) -> str:
    return str(unicodedata.decimal(character)) if character.isdecimal() else character
