"""Everything that is stored of one plate: how to tell it in what the kernel keeps, and how it leaves our tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from heldard.plugin import Eraser, PluginContext, Recogniser, Traces, Tx
from heldard_anpr.consumer import AnprConsumer
from heldard_anpr.engine.intake import TEXT_LIMIT
from heldard_anpr.plates.normal import normalise
from heldard_anpr.privacy.mask import spellings
from heldard_anpr.privacy.service import CHUNK, HASH_KEY, SQL, drop_event, drop_visit

LISTS = ("vehicles", "visitor_passes", "watchlist")
ERASED = '"erased"'
"""What stands in a record of another vehicle in place of the plate: a text, as every reader of records expects."""

_PART = re.compile(r"[^\W_]+")


class PlateEraser(Eraser):
    """The subject is a plate in its normal form. Options: `lists`, whether its list entries go too."""

    kind = "plate"

    def __init__(self, ctx: PluginContext, consumer: AnprConsumer) -> None:
        self.ctx = ctx
        self.consumer = consumer

    async def trace(self, subject: str) -> Traces:
        """Open visits of the plate are dropped. What was misread of it is told by where and when it was read, for the
        same text elsewhere is another vehicle's."""
        for camera in await self.ctx.cameras():  # all: after a start, what is open is not in memory until it is needed
            await self.ctx.in_lane(self.consumer.name, camera.id, partial(self.consumer.let_go, camera.id, subject))
        forms = spellings(subject, (await self.ctx.fetch(HASH_KEY))[0]["hash_key"])
        rows = await self.ctx.fetch(SQL["reads_about"], forms)
        reads = frozenset((row["raw"], row["camera_id"], row["at_ms"]) for row in rows if row["raw"])
        frames = sorted({row["evidence"] for row in rows if row["evidence"] is not None})
        return Traces(recogniser(forms, reads), frames)

    def forget(self, tx: Tx, subject: str, options: Mapping[str, Any]) -> dict[str, int]:
        forms = spellings(subject, tx.execute(HASH_KEY)[0][0])
        gone = _drop(tx, SQL["events_of_plate"], [*forms, CHUNK], drop_event)
        if gone:
            return {"entry_events": len(gone), "visits": sum(gone)}
        gone = _drop(tx, SQL["loose_visits"], [subject, CHUNK], drop_visit)
        if gone:
            return {"visits": len(gone)}
        lists = _drop_entries(tx, subject) if options.get("lists") else 0
        stays = len(tx.execute(SQL["drop_stays_of_plate"], forms))
        return {"list_entries": lists, "stays": stays, "mentions": _drop_mentions(tx, subject)}


def recogniser(forms: Sequence[str], reads: frozenset[tuple[str, str | None, int | None]]) -> Recogniser:
    """Whether a text is the plate however it is written, holds it among other words, is its hash, or is one of
    `reads`: (as it was read, camera, time)."""
    plate, hashed = forms

    def names(text: str, camera_id: str | None, at_ms: int | None) -> bool:
        return (
            text == hashed
            or normalise(text) == plate
            or (text.strip()[:TEXT_LIMIT], camera_id, at_ms) in reads
            or _holds(text, plate)
        )

    return names


def _holds(text: str, plate: str) -> bool:
    """Whether some words of the text that follow one another are the plate."""
    words = [normalise(word) for word in _PART.findall(text)]
    for first in range(len(words)):
        joined = ""
        for word in words[first:]:
            joined += word
            if joined == plate:
                return True
            if not plate.startswith(joined):
                break
    return False


def _drop(tx: Tx, query: str, parameters: Sequence[Any], drop: Callable[[Tx, str], int]) -> list[int]:
    """Drop each row that the query names; what `drop` said of each."""
    return [drop(tx, found) for (found,) in tx.execute(query, parameters)]


def _drop_mentions(tx: Tx, plate: str) -> int:
    """The plate in what is kept of other vehicles: read by mistake, close to it, or put right from it."""
    quoted = msgspec.json.encode(plate).decode()
    found = [
        *tx.execute(SQL["forget_read"], [plate]),
        *tx.execute(SQL["forget_in_decisions"], {"quoted": quoted, "erased": ERASED}),
        *tx.execute(SQL["forget_in_events"], {"quoted": quoted, "erased": ERASED}),
        *tx.execute(SQL["forget_in_reviews"], {"plate": plate}),
    ]
    return len(found)


def _drop_entries(tx: Tx, plate: str) -> int:
    gone = 0
    for table in LISTS:
        rows = tx.execute(f"DELETE FROM {table} WHERE plate_norm = ? RETURNING id", [plate])  # noqa: S608 - three names
        for (entry_id,) in rows:
            tx.execute(SQL["drop_keys"], [table, entry_id])
        gone += len(rows)
    return gone
