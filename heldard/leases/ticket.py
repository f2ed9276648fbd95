"""Frame tickets: proof that a frame was handed to the worker that leased its task.

`f1.<task id>.<capture ms>.<expiry, Unix seconds>.<signature>`. The signature covers more than the text shows:
credential, camera, worker and the term of the lease, so that a ticket is worth nothing to anybody else, and nothing
after the task was handed over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from heldard.leases.model import Lease

VERSION = "f1"
_NUMBER = re.compile(r"[0-9]{1,15}")
_AMBIGUOUS = frozenset(".\r\n")


@dataclass(frozen=True, slots=True)
class Peeked:
    """What a ticket says; nothing of it is proven before `verify`."""

    task_id: str
    captured_ms: int
    expires_s: int
    signature: bytes


def mint(key: bytes, lease: Lease, camera_id: str, captured_ms: int, now_ms: int, ttl_s: int) -> str | None:
    """A ticket, or None when an id is empty or could be read in two ways."""
    named = (lease.credential, camera_id, lease.task_id)
    if any(not text or _AMBIGUOUS & set(text) for text in named):
        return None
    expires_s = now_ms // 1000 + max(1, ttl_s)
    signature = _sign(key, lease, camera_id, captured_ms, expires_s)
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return f"{VERSION}.{lease.task_id}.{captured_ms}.{expires_s}.{text}"


def peek(text: str) -> Peeked | None:
    """The public parts, not verified; None when it is no ticket of this version."""
    parts = text.split(".")
    if len(parts) != 5 or parts[0] != VERSION or not parts[1]:
        return None
    if not _NUMBER.fullmatch(parts[2]) or not _NUMBER.fullmatch(parts[3]):
        return None
    try:
        signature = base64.b64decode(parts[4] + "=" * (-len(parts[4]) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return Peeked(parts[1], int(parts[2]), int(parts[3]), signature)


def verify(key: bytes, peeked: Peeked, lease: Lease, camera_id: str, now_ms: int) -> bool:
    """Whether it was minted here, for this lease's holder and this camera, and has not expired."""
    expected = _sign(key, lease, camera_id, peeked.captured_ms, peeked.expires_s)
    genuine = hmac.compare_digest(expected, peeked.signature) and peeked.task_id == lease.task_id
    return genuine and now_ms < peeked.expires_s * 1000


def _sign(key: bytes, lease: Lease, camera_id: str, captured_ms: int, expires_s: int) -> bytes:
    # The worker's id comes last: it is the one part that is free text.
    parts = (
        VERSION, lease.credential, camera_id, lease.task_id, str(captured_ms), str(expires_s), str(lease.acquired_ms),
        lease.worker_id,
    )  # fmt: skip
    return hmac.new(key, "\n".join(parts).encode(), hashlib.sha256).digest()
