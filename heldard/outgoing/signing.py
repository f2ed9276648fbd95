"""The headers of a webhook: upstream's, and those of Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

STANDARD_PREFIX = "whsec_"


def headers(delivery_id: str, event_type: str, body: bytes, secret: str | None, now_ms: int) -> dict[str, str]:
    """Unsigned without a secret. `delivery_id` stays the same however often it is tried."""
    seconds = str(now_ms // 1000)
    found = {
        "Content-Type": "application/json",
        "X-Heldar-Event": event_type,
        "X-Heldar-Delivery": delivery_id,
        "X-Heldar-Timestamp": seconds,
        "webhook-id": delivery_id,
        "webhook-timestamp": seconds,
    }
    if secret is not None:
        plain = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        found["X-Heldar-Signature"] = f"sha256={plain}"
        signed = f"{delivery_id}.{seconds}.".encode() + body
        digest = hmac.new(standard_key(secret), signed, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return found


def standard_key(secret: str) -> bytes:
    """`whsec_` and base64 stand for bytes; any other text for its own."""
    if secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            return secret.encode()
    return secret.encode()
