"""One attempt at one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import aiohttp

from heldard import __version__
from heldard.errors import InvalidError
from heldard.outgoing.target import CheckedResolver, check_literal

Verdict = Literal["delivered", "later", "refused", "gone"]
"""later: the target is in trouble, so wait. refused: it does not want this event. gone: it wants none any more."""

_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Attempt:
    verdict: Verdict
    status: int | None = None
    error: str | None = None


class Sender:
    """Posts, without following redirects, to addresses that are allowed. `close` it."""

    def __init__(self, timeout_s: float, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(allow_private=allow_private), limit=64, use_dns_cache=False
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout,
            headers={"User-Agent": f"heldard/{__version__}"},
        )  # fmt: skip

    async def close(self) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Attempt:
        """What the target made of it; never raises for what the target does."""
        try:
            check_literal(urlsplit(url).hostname or "", allow_private=self._allow_private)
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return judge(response.status)
        except InvalidError as error:
            return Attempt("later", None, error.message)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt("later", None, f"{type(error).__name__}: {error}"[:300])


def judge(status: int) -> Attempt:
    if 200 <= status < 300:
        return Attempt("delivered", status)
    error = f"the target answered {status}"
    if status == 410:
        return Attempt("gone", status, error)
    if status >= 500 or status in _LATER:
        return Attempt("later", status, error)
    return Attempt("refused", status, error)
