"""The log of events: filters, pages, ids that mean one place in one database, listeners after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from heldard import keys
from heldard.clock import rfc3339
from heldard.errors import InvalidError
from heldard.plugin import EventDraft, EventType, Severity
from heldard.testing import START_MS
from heldard.testing.kernel import Kernel

MakeKernel = Callable[..., Kernel]
Match = Callable[[dict[str, Any]], bool]


async def raise_some(kernel: Kernel) -> list[dict[str, Any]]:
    """Thirty events, three at a time; what each is, newest first."""
    await kernel.add_camera("gate")
    await kernel.add_camera("yard")
    severities: tuple[Severity, ...] = ("info", "warning", "critical")
    raised: list[dict[str, Any]] = []
    for n in range(30):
        row: dict[str, Any] = {
            "n": n, "at": START_MS + n // 3 * 1000, "camera": (None, "gate", "yard")[n % 3],
            "kind": ("one", "two")[n % 2], "severity": severities[n % 5 % 3],
        }  # fmt: skip
        await kernel.app[keys.EVENTS].emit(EventDraft(row["kind"], row["at"], row["severity"], row["camera"], {"n": n}))
        raised.append(row)
    return raised[::-1]


def between(row: dict[str, Any]) -> bool:
    return bool(START_MS + 2000 <= row["at"] <= START_MS + 5000)


SPAN = f"from={rfc3339(START_MS + 2000)}&to={rfc3339(START_MS + 5000)}"
CASES: list[tuple[str, Match]] = [
    ("", lambda _: True),
    ("camera_id=gate", lambda row: row["camera"] == "gate"),
    ("camera_id=nowhere", lambda _: False),
    ("event_type=two", lambda row: row["kind"] == "two"),
    ("event_type=never", lambda _: False),
    ("severity=critical", lambda row: row["severity"] == "critical"),
    (SPAN, between),
    (f"{SPAN}&camera_id=yard&event_type=one", lambda row: between(row) and (row["camera"], row["kind"]) ==
     ("yard", "one")),
]  # fmt: skip


async def test_every_filter_answers_as_a_plain_search_does(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        newest = await raise_some(kernel)
        for query, matches in CASES:
            found = [event["payload"]["n"] for event in await kernel.get(f"/api/v1/events?{query}")]
            assert found == [row["n"] for row in newest if matches(row)], query
        assert (await kernel.request("GET", "/api/v1/events?severity=loud")).status == 400


async def test_pages_follow_each_other_without_gap_or_overlap(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await raise_some(kernel)
        seen: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            reply = await kernel.request("GET", f"/api/v1/events?limit=7&cursor={cursor}")
            seen += [event["payload"]["n"] for event in reply.body]
            cursor = reply.headers.get("X-Next-Cursor")
        assert seen == list(range(29, -1, -1))


async def test_an_events_id_means_its_place_in_this_database_only(heldard_kernel: MakeKernel, tmp_path: Any) -> None:
    async with heldard_kernel() as kernel:
        await raise_some(kernel)
        shown = await kernel.get("/api/v1/events?limit=30")
        ids = [event["id"] for event in shown]
        assert len(set(ids)) == 30
        await kernel.restart()
        assert [event["id"] for event in await kernel.get("/api/v1/events?limit=30")] == ids
        events = kernel.app[keys.EVENTS]
        assert [events.seq_of(public) for public in ids] == [event["seq"] for event in shown]
        assert events.seq_of("not-an-id") is None
        async with Kernel(tmp_path / "other") as other:
            assert other.app[keys.EVENTS].seq_of(ids[0]) is None


async def test_whoever_waits_hears_of_a_commit_whatever_a_listener_does(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        events = kernel.app[keys.EVENTS]
        heard: list[int] = []

        def broken(_seq: int, _draft: EventDraft) -> None:
            raise RuntimeError("a listener failed")

        events.listeners += [broken, lambda seq, _draft: heard.append(seq)]
        waiting = asyncio.ensure_future(events.wait_after(events.last_seq))
        seq = await events.emit(EventDraft("one", START_MS, "info", None, {}))
        await asyncio.wait_for(waiting, 30)
        assert heard == [seq]
        assert events.last_seq == seq


async def test_a_type_is_registered_once_and_what_else_occurs_is_listed(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await raise_some(kernel)
        kinds = {row["event_type"] for row in await kernel.get("/api/v1/events/types")}
        assert {"one", "two", "consumer_quarantined"} <= kinds
        with pytest.raises(InvalidError, match="registered already"):
            await kernel.app[keys.EVENTS].register([EventType("consumer_quarantined", "Again.")])
