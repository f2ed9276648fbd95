"""HTTP of entry events, reports, reviews and decision records."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from heldard.plugin import Endpoint, InvalidError, NotFoundError, PluginContext, Query, Tx, read_body, rfc3339, route
from heldard_anpr.caller import caller, limited, moment, plate_of, sees
from heldard_anpr.decisions import crop, store
from heldard_anpr.decisions.model import (
    EntryEvent,
    EventsQuery,
    Explanation,
    Figures,
    FiguresQuery,
    Report,
    ReportQuery,
    VisitLine,
    VisitRecord,
    VisitsQuery,
)
from heldard_anpr.decisions.recorder import SQL, Recorder
from heldard_anpr.plates.confusion import learned, shipped
from heldard_anpr.plates.normal import normalise
from heldard_anpr.privacy.mask import spellings
from heldard_anpr.review import workflow

DAY = timedelta(days=1)


class ConfusionCount(msgspec.Struct, frozen=True):
    """How often reviewers saw `printed` read as `read`."""

    printed: str
    read: str
    count: int


class QueueQuery(Query, frozen=True):
    limit: int = 200


def routes(ctx: PluginContext, recorder: Recorder) -> list[Endpoint]:
    return [*_events(ctx), *_reports(ctx, recorder), *_reviews(ctx, recorder), *_records(ctx)]


async def _conditions(ctx: PluginContext, query: EventsQuery) -> dict[str, object]:
    forms: tuple[str, str] | None = None
    if query.plate is not None:
        key = (await ctx.fetch(SQL["hash_key"]))[0]["hash_key"]
        forms = spellings(normalise(query.plate), key)
    return {
        "timestamp >= ?": moment(query.from_, "from"),
        "timestamp < ?": moment(query.to, "to"),
        "auth_status = ?": query.auth_status,
        "workflow_status = ?": query.workflow_status,
        "event_type = ?": query.event_type,
        "camera_id = ?": query.camera_id,
        "plate IN (?, ?)": forms,
    }


def _events(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/entry-events", capability="events:read")
    async def list_events(request: web.Request, query: EventsQuery) -> web.Response:
        """Entry events, newest first; `x-next-cursor` leads to the next page."""
        found, cursor = await store.events(
            ctx, await _conditions(ctx, query), limited(query.limit, 5000), partial(sees, request), query.cursor
        )
        headers = {"x-next-cursor": cursor} if cursor else {}
        return web.Response(body=msgspec.json.encode(found), content_type="application/json", headers=headers)

    @route("GET", "/api/v1/entry-events/{id}", capability="events:read")
    async def show(request: web.Request, id: str) -> EntryEvent:  # noqa: A002 - the path's word
        """One entry event."""
        return await store.event(ctx, id, partial(sees, request))

    @route("GET", "/api/v1/entry-events/{id}/decision", capability="events:read")
    async def explain(request: web.Request, id: str) -> Explanation:  # noqa: A002 - the path's word
        """How the event came about: reads, votes, lists, gate, reviews."""
        return await store.explanation(ctx, id, partial(sees, request))

    return [list_events, show, explain]


def _reports(ctx: PluginContext, recorder: Recorder) -> list[Endpoint]:
    def span(query: ReportQuery) -> tuple[int, int]:
        return _span(query, ctx.clock.now_ms(), recorder.reach.timezone)

    async def report(request: web.Request, query: ReportQuery, more: dict[str, object]) -> Report:
        begins, ends = span(query)
        conditions = {"timestamp >= ?": begins, "timestamp < ?": ends} | more
        found, _ = await store.events(ctx, conditions, limited(query.limit, 10_000), partial(sees, request))
        counts: dict[str, int] = {}
        for event in found:
            counts[event.auth_status] = counts.get(event.auth_status, 0) + 1
        return Report(rfc3339(begins), rfc3339(ends), len(found), counts, found)

    @route("GET", "/api/v1/reports/entry-log", capability="events:read")
    async def entry_log(request: web.Request, query: ReportQuery) -> Report:
        """All entry events of a day or a span."""
        return await report(request, query, {})

    @route("GET", "/api/v1/reports/exceptions", capability="events:read")
    async def exceptions(request: web.Request, query: ReportQuery) -> Report:
        """Entry events of a day or a span that were not plain matches, or were rejected."""
        wanted = "(auth_status IN ('blocked', 'exception', 'unmatched') OR workflow_status = ?)"
        return await report(request, query, {wanted: "rejected"})

    return [entry_log, exceptions]


def _span(query: ReportQuery, now_ms: int, timezone: str) -> tuple[int, int]:
    begins, ends = moment(query.from_, "from"), moment(query.to, "to")
    if query.date is None and begins is not None:
        return begins, now_ms if ends is None else ends
    if query.date is None and ends is not None:
        raise InvalidError("to: give from as well, or a date", details={"element": "from"})
    zone = ZoneInfo(timezone)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        day = (epoch + timedelta(milliseconds=now_ms)).astimezone(zone).date()
        day = day if query.date is None else date.fromisoformat(query.date)
        first, last = (datetime.combine(d, time(), zone) for d in (day, day + DAY))
        begin, end = (int((moment_.astimezone(UTC) - epoch) / timedelta(milliseconds=1)) for moment_ in (first, last))
    except (ValueError, OverflowError):
        raise InvalidError(f"date: {query.date!r} is not a day like 2026-01-31", details={"element": "date"}) from None
    return begin, end


def _reviews(ctx: PluginContext, recorder: Recorder) -> list[Endpoint]:
    async def take(request: web.Request, event_id: str, to: workflow.Step, note: str | None) -> EntryEvent:
        await store.event(ctx, event_id, partial(sees, request))
        by, now_ms = caller(request), ctx.clock.now_ms()
        return store.entry_event(await ctx.write(lambda tx: workflow.step(tx, event_id, to, by, now_ms, note)))

    @route("POST", "/api/v1/entry-events/{id}/confirm", capability="gate:operate")
    async def confirm(request: web.Request, id: str) -> EntryEvent:  # noqa: A002 - the path's word
        """Say that an event is right."""
        return await take(request, id, "confirmed", await _note(request))

    @route("POST", "/api/v1/entry-events/{id}/reject", capability="gate:operate")
    async def reject(request: web.Request, id: str) -> EntryEvent:  # noqa: A002 - the path's word
        """Say that an event is wrong."""
        return await take(request, id, "rejected", await _note(request))

    @route("POST", "/api/v1/entry-events/{id}/reopen", capability="gate:operate")
    async def reopen(request: web.Request, id: str) -> EntryEvent:  # noqa: A002 - the path's word
        """Take a review back."""
        return await take(request, id, "pending", await _note(request))

    @route("POST", "/api/v1/entry-events/{id}/correct", capability="gate:operate")
    async def correct(request: web.Request, id: str, body: workflow.Correction) -> EntryEvent:  # noqa: A002 - as above
        """Put the plate right; what the reader confused is counted."""
        await store.event(ctx, id, partial(sees, request))
        plate, by, now_ms = plate_of(body.plate), caller(request), ctx.clock.now_ms()

        def work(tx: Tx) -> dict[str, object]:
            ballot = recorder.rules.ballot
            workflow.learn(tx, id, plate, ballot.confusions, ballot.formats)
            return workflow.step(tx, id, "corrected", by, now_ms, body.note, plate)

        row = await ctx.write(work)
        await take_up_confusions(ctx, recorder)
        return store.entry_event(row)

    @route("GET", "/api/v1/anpr/review", capability="events:read")
    async def queue(request: web.Request, query: QueueQuery) -> list[EntryEvent]:
        """What waits for a person, newest first."""
        found, _ = await store.events(
            ctx, {"workflow_status IN (?, ?)": ("review", "pending")}, limited(query.limit, 2000),
            partial(sees, request),
        )  # fmt: skip
        return found

    @route("GET", "/api/v1/anpr/confusions", capability="events:read")
    async def confusions(request: web.Request) -> list[ConfusionCount]:
        """What reviewers' corrections taught."""
        return [ConfusionCount(**row) for row in await ctx.fetch(SQL["confusions"])]

    return [confirm, reject, reopen, correct, queue, confusions]


async def take_up_confusions(ctx: PluginContext, recorder: Recorder) -> None:
    """Have the engine use what corrections taught so far."""
    counts = [(row["printed"], row["read"], row["count"]) for row in await ctx.fetch(SQL["confusions"])]
    ballot = msgspec.structs.replace(recorder.rules.ballot, confusions=learned(shipped(), counts))
    recorder.rules = msgspec.structs.replace(recorder.rules, ballot=ballot)


NOTE_LIMIT_BYTES = 64 * 1024
_NOTES = msgspec.json.Decoder(workflow.Note | None)


async def _note(request: web.Request) -> str | None:
    """The optional body of a review step. Raises InvalidError, TooLargeError."""
    raw = await read_body(request, NOTE_LIMIT_BYTES)
    if not raw.strip():
        return None
    try:
        body = _NOTES.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f'the body is an object with an optional "note": {error}', code="bad_json") from None
    return None if body is None else body.note


def _records(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/anpr/visits", capability="events:read")
    async def list_visits(request: web.Request, query: VisitsQuery) -> list[VisitLine]:
        """Visits, newest first; with `unread=true` those that led to no event."""
        conditions: dict[str, object] = {
            "started_ms >= ?": moment(query.from_, "from"),
            "started_ms < ?": moment(query.to, "to"),
            "camera_id = ?": query.camera_id,
            "(event_id IS NULL) = ?": 1 if query.unread else None,
        }
        return await store.visits(ctx, conditions, limited(query.limit, 2000), partial(sees, request))

    @route("GET", "/api/v1/anpr/figures", capability="events:read")
    async def show_figures(request: web.Request, query: FiguresQuery) -> list[Figures]:
        """How well each camera's plates are read: visits, and what became of the reads, rejected ones too."""
        now = ctx.clock.now_ms()
        begins, ends = moment(query.from_, "from"), moment(query.to, "to")
        begins = now - 86_400_000 if begins is None else begins
        return await store.figures(ctx, begins, now + 1 if ends is None else ends, partial(sees, request))

    @route("GET", "/api/v1/anpr/visits/{id}", capability="events:read")
    async def show_visit(request: web.Request, id: str) -> VisitRecord:  # noqa: A002 - the path's word
        """One visit with every read, rejected ones too."""
        return await store.visit(ctx, id, partial(sees, request))

    @route("GET", "/api/v1/anpr/visits/{id}/reads/{number}/crop", capability="video:playback")
    async def picture(request: web.Request, id: str, number: str) -> web.Response:  # noqa: A002 - the path's word
        """The plate as it was read: the box of that read cut out of its frame."""
        visit = await store.visit(ctx, id, partial(sees, request))
        read = next((read for read in visit.reads if str(read.number) == number), None)
        box = None if read is None else read.plate_box or read.vehicle_box
        if read is None or read.evidence is None or box is None:
            raise NotFoundError("no picture of that read is kept")
        path = ctx.evidence_path(read.evidence.rpartition("/")[2])
        if path is None:
            raise NotFoundError("the picture of that read is not kept any more")
        jpeg = await asyncio.get_running_loop().run_in_executor(None, crop.cut, path, box)
        return web.Response(body=jpeg, content_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    return [list_visits, show_figures, show_visit, picture]
