"""A plate as a keyed hash, so that it can be recognised again but not read."""

from __future__ import annotations

from hashlib import blake2b

PREFIX = "#"
DIGITS = 20


def hashed(plate: str, key: bytes) -> str:
    """`#` and 20 hex digits, the same for the same plate and key."""
    return PREFIX + blake2b(plate.encode(), key=key, digest_size=DIGITS // 2).hexdigest()


def spellings(plate: str, key: bytes) -> tuple[str, str]:
    """The two forms in which a plate may be stored."""
    return plate, hashed(plate, key)
