"""Words kept once and referred to by number in hot tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from heldard.db.database import Database
from heldard.errors import InvalidError

MAX_NAMES = 65_536
"""Distinct words one database may hold: labels are worker-supplied, and each word stays in memory."""

CROWDED = MAX_NAMES // 2
"""From so many words on, a start forgets those that nothing refers to any more."""

MAX_NAME_LENGTH = 200

_FORGET = """
DELETE FROM names WHERE id NOT IN (
  SELECT camera FROM sources UNION SELECT task_type FROM sources
  UNION SELECT camera FROM channels UNION SELECT task_type FROM channels
  UNION SELECT camera FROM outbox
  UNION SELECT label FROM detections WHERE label IS NOT NULL
  UNION SELECT camera FROM consumer_state UNION SELECT camera FROM consumer_lanes
  UNION SELECT event_type FROM events UNION SELECT camera FROM events WHERE camera IS NOT NULL)
"""


class Names:
    """Both directions in memory, loaded at start; what is new is committed before it is used."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._ids: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    async def load(self, crowded: int = CROWDED) -> None:
        """Only at the start, before anybody has a number: where there are many, unused words are forgotten first.

        That reads every detection, a second or so for ten million.
        """
        row = await self._db.fetch_one("SELECT count(*) AS words FROM names")
        if row is not None and row["words"] >= crowded:
            await self._db.write(lambda connection: connection.execute(_FORGET).rowcount)
        for row in await self._db.fetch("SELECT id, text FROM names"):
            self._remember(row["id"], row["text"])

    def id(self, text: str) -> int | None:
        """The number of a word, None when it was never interned."""
        return self._ids.get(text)

    def text(self, number: int) -> str:
        return self._texts[number]

    def missing(self, texts: Iterable[str]) -> list[str]:
        return [text for text in texts if text not in self._ids]

    async def intern(self, texts: Iterable[str]) -> None:
        """Give each word a number. Raises InvalidError for a word over 200 characters or when the table is full."""
        wanted = sorted(set(self.missing(texts)))
        if not wanted:
            return
        for text in wanted:
            if len(text) > MAX_NAME_LENGTH:
                raise InvalidError(
                    f"{text[:40]!r}... is {len(text)} characters: types and labels have at most {MAX_NAME_LENGTH}",
                    code="name_too_long",
                )
        if len(self._ids) + len(wanted) > MAX_NAMES:
            raise InvalidError(
                f"this box knows {len(self._ids)} distinct labels and types already (limit {MAX_NAMES}): "
                "use a label for what a thing is, and attributes or track_id for which one it is; "
                "a restart forgets words that nothing stored uses any more",
                code="too_many_names",
            )
        for number, text in await self._db.write(lambda connection: _intern(connection, wanted)):
            self._remember(number, text)

    def _remember(self, number: int, text: str) -> None:
        self._ids[text] = number
        self._texts[number] = text


def _intern(connection: sqlite3.Connection, texts: list[str]) -> list[tuple[int, str]]:
    connection.executemany("INSERT OR IGNORE INTO names (text) VALUES (?)", [(text,) for text in texts])
    marks = ", ".join("?" * len(texts))
    return connection.execute(f"SELECT id, text FROM names WHERE text IN ({marks})", texts).fetchall()  # noqa: S608
