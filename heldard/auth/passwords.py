"""Passwords: argon2id with the library's defaults (RFC 9106, low-memory profile), always off the event loop."""

from __future__ import annotations

import asyncio
import base64
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from heldard.errors import TooManyError

AT_ONCE = 2
"""Hashings that run together: each takes 64 MiB."""

MOST_WAITING = 16

_HASHER = PasswordHasher()


class Passwords:
    """Hashes and checks, a few at a time."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobody = _nobodys_hash()

    async def hash(self, password: str) -> str:
        async with self._gate:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def check(self, stored: str | None, password: str) -> bool:
        """Whether the password is right; takes its time with None too. Raises TooManyError."""
        if self._waiting >= MOST_WAITING:
            raise TooManyError("too many sign-ins at once: try again", code="login_busy", retry_after_s=2)
        self._waiting += 1
        try:
            async with self._gate:
                right = await asyncio.to_thread(_matches, stored or self._nobody, password)
        finally:
            self._waiting -= 1
        return right and stored is not None


def _nobodys_hash() -> str:
    """Checked when there is no such user, so that an answer takes as long as for a real one.

    Of the form of a hash but of no password: making a real one would cost every start 50 ms and 64 MiB.
    """
    parameters = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    salt, digest = (_base64(secrets.token_bytes(size)) for size in (_HASHER.salt_len, _HASHER.hash_len))
    return f"$argon2id$v=19${parameters}${salt}${digest}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
