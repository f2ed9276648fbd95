"""HTTP as clients of the box speak it: a key, a request, an answer, or none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.day.daemon import Daemon

ANSWER_LIMIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """status: 0 when nobody answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """One credential's connections. `statuses` counts what was answered, by method, path's kind and status."""

    daemon: Daemon
    session: aiohttp.ClientSession
    key: str = ""
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    def with_key(self, key: str) -> Wire:
        return Wire(self.daemon, self.session, key, self.statuses)

    def headers(self, **more: str) -> dict[str, str]:
        return {"X-API-Key": self.key, **more} if self.key else more

    async def call(
        self, method: str, path: str, body: Any = None, *, limit_s: float = ANSWER_LIMIT_S, **headers: str
    ) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        try:
            async with self.session.request(
                method, self.daemon.url + path, data=data, headers=self.headers(**kind, **headers),
                timeout=aiohttp.ClientTimeout(total=limit_s),
            ) as response:  # fmt: skip
                answer = Answer(response.status, await response.read(), response.headers)
        except (TimeoutError, aiohttp.ClientError, OSError):
            answer = Answer(0)
        self.statuses[method, answer.status] += 1
        return answer

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The JSON of an answer that must have this status."""
        answer = await self.call(method, path, body)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body[:500]!r}"
        return answer.json if answer.body else None
