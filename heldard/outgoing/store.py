"""The only place that touches `webhook_subscriptions` and `webhook_deliveries`."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from heldard.db import queries
from heldard.db.database import Database
from heldard.outgoing.model import Delivery, Webhook

SQL = queries.load("heldard.outgoing")

KEPT_DELIVERIES = 10_000
"""Of each target, dead ones included."""


class WebhookStore:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[Webhook]:
        return [_webhook(row) for row in await self._db.fetch(SQL["all_webhooks"])]

    async def put(self, webhook: Webhook, delivery: Delivery | None = None) -> None:
        """Keep a target and, in the same commit, how the event it stood at has ended."""
        row = _row(webhook)
        ended = None if delivery is None else msgspec.structs.asdict(delivery)

        def unit(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["put_webhook"], row)
            if ended is not None:
                place = connection.execute(SQL["add_delivery"], ended).lastrowid or 0
                if place % 100 == 0:
                    trim = {"subscription_id": webhook.id, "keep": KEPT_DELIVERIES}
                    connection.execute(SQL["trim_deliveries"], trim)

        await self._db.change(unit, about=webhook.id)

    async def delete(self, webhook_id: str) -> None:
        await self._db.change(lambda connection: connection.execute(SQL["delete_webhook"], {"id": webhook_id}).rowcount)

    async def newest(self, webhook_id: str, limit: int, *, dead: bool) -> list[Delivery]:
        query = SQL["newest_dead" if dead else "newest_deliveries"]
        return await self._deliveries(query, {"subscription_id": webhook_id, "limit": limit})

    async def oldest_dead(self, webhook_id: str, limit: int) -> list[Delivery]:
        return await self._deliveries(SQL["oldest_dead"], {"subscription_id": webhook_id, "limit": limit})

    async def count_dead(self, webhook_id: str) -> int:
        row = await self._db.fetch_one(SQL["count_dead"], {"subscription_id": webhook_id})
        assert row is not None
        return int(row["dead"])

    async def find(self, webhook_id: str, delivery: int) -> Delivery | None:
        found = await self._deliveries(SQL["delivery"], {"subscription_id": webhook_id, "id": delivery})
        return found[0] if found else None

    async def revive(self, delivery: int, response_code: int | None, now_ms: int) -> None:
        given = {"id": delivery, "response_code": response_code, "delivered_ms": now_ms}
        await self._db.change(lambda connection: connection.execute(SQL["revive"], given).rowcount)

    async def _deliveries(self, query: str, given: dict[str, Any]) -> list[Delivery]:
        return [Delivery(**dict(row)) for row in await self._db.fetch(query, given)]


def _row(webhook: Webhook) -> dict[str, Any]:
    return {**msgspec.structs.asdict(webhook), "event_types": msgspec.json.encode(webhook.event_types).decode()}


def _webhook(row: sqlite3.Row) -> Webhook:
    fields = dict(row)
    fields["event_types"] = msgspec.json.decode(fields["event_types"], type=tuple[str, ...])
    fields["enabled"] = bool(fields["enabled"])
    return Webhook(**fields)
