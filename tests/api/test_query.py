"""Query strings: what is said twice or says nothing is not guessed at."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("query", ["limit=null", "limit=1&limit=2", "limit=abc", "limit=1.5", "limit="])
async def test_a_number_is_one_number(heldard_kernel: Any, query: str) -> None:
    async with heldard_kernel() as kernel:
        reply = await kernel.request("GET", f"/api/v1/events?{query}")
        assert (reply.status, reply.body["code"]) == (400, "bad_query")


async def test_unknown_keys_are_ignored_and_text_may_be_null(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        assert await kernel.get("/api/v1/events?limit=5&colour=red&colour=blue&event_type=null") == []
