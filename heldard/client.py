"""One call to a running daemon, for the command line."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from heldard.errors import HeldardError, StoreError


class AnsweredError(HeldardError):
    """The daemon answered with an error."""

    default_code = "answered"


def call(method: str, url: str, api_key: str | None = None, body: Any = None) -> Any:
    """The decoded JSON answer, None for an empty one. Raises AnsweredError, or StoreError when nobody answers."""
    return asyncio.run(_call(method, url, api_key, body))


async def _call(method: str, url: str, api_key: str | None, body: Any) -> Any:
    headers = {"X-API-Key": api_key} if api_key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.request(method, url, headers=headers, json=body) as response,
        ):
            answer = await response.json() if response.content_type == "application/json" else None
            if response.status >= 400:
                raise AnsweredError((answer or {}).get("error", f"{method} {url}: HTTP {response.status}"))
            return answer
    except aiohttp.ClientError as error:
        raise StoreError(f"no daemon answers at {url}: {error}; is `heldard serve` running?") from None
