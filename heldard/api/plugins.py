"""`/api/v1/plugins`: what is installed, what became of it, and how it does."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from heldard import keys
from heldard.api.endpoint import route
from heldard.db.database import Database
from heldard.errors import NotFoundError
from heldard.fanout.model import ConsumerStatus
from heldard.plugins import Plugin


class TableSize(msgspec.Struct, frozen=True, kw_only=True):
    """size_bytes: of the table and its indexes in the file."""

    name: str
    rows: int
    size_bytes: int


class PluginSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin. state: `active`, `refused` or `disabled`, with the reason for the latter two.

    api: the range of the contract it works with. memory_bytes: of its consumers' own processes. hook_failures and
    hooks_dropped: of its `heldard_on_*` and `heldard_decide_*`, since the start. problem: what went wrong last, None
    when nothing did.
    """

    name: str
    version: str | None
    api: str | None
    summary: str | None
    distribution: str | None
    state: str
    reason: str | None
    consumers: list[ConsumerStatus]
    lag: int
    memory_bytes: int
    hook_failures: int
    hooks_dropped: int
    problem: str | None


class PluginView(PluginSummary, frozen=True, kw_only=True):
    """The same with its tables."""

    tables: list[TableSize]


@route("GET", "/api/v1/plugins", capability="system:read")
async def list_plugins(request: web.Request) -> list[PluginView]:
    """Every plugin that was found: version, state and reason, consumers with lag and errors, tables and their size."""
    return [await view(request.app, plugin) for plugin in request.app[keys.PLUGINS].all]


@route("GET", "/api/v1/plugins/{name}", capability="system:read")
async def get_plugin(request: web.Request, name: str) -> PluginView:
    """One plugin."""
    plugin = request.app[keys.PLUGINS].get(name)
    if plugin is None:
        raise NotFoundError(f"no plugin {name!r}: see GET /api/v1/plugins", code="plugin_not_found")
    return await view(request.app, plugin)


async def view(app: web.Application, plugin: Plugin) -> PluginView:
    shown = msgspec.structs.asdict(await summary(app, plugin))
    tables = [] if plugin.guard is None else await table_sizes(app[keys.DB], plugin)
    return PluginView(**shown, tables=tables)


async def summary(app: web.Application, plugin: Plugin) -> PluginSummary:
    fanout, info = app[keys.FANOUT], plugin.info
    consumers = [await fanout.status(member) for member in fanout.members() if member.plugin == plugin.name]
    return PluginSummary(
        name=plugin.name,
        version=info.version if info else None,
        api=info.api if info else None,
        summary=info.summary if info else None,
        distribution=plugin.distribution,
        state=plugin.state,
        reason=plugin.reason,
        consumers=consumers,
        lag=sum(consumer.lag for consumer in consumers),
        memory_bytes=sum(consumer.memory_bytes or 0 for consumer in consumers),
        hook_failures=plugin.told_failures,
        hooks_dropped=plugin.told_dropped,
        problem=_problem(plugin, consumers),
    )


def _problem(plugin: Plugin, consumers: list[ConsumerStatus]) -> str | None:
    if plugin.state == "refused":
        return plugin.reason
    told = [
        f"consumer {consumer.name}{'' if consumer.state == 'active' else f' ({consumer.state})'}: {consumer.last_error}"
        for consumer in consumers
        if consumer.last_error is not None
    ]
    return "; ".join(told) or plugin.last_error


async def problems(app: web.Application) -> dict[str, str]:
    """What went wrong with plugins, by their names; for health."""
    summaries = [await summary(app, plugin) for plugin in app[keys.PLUGINS].all]
    return {found.name: found.problem for found in summaries if found.problem is not None}


async def table_sizes(db: Database, plugin: Plugin) -> list[TableSize]:
    """How large each of its tables is. Counted now: not for every scrape of metrics."""
    assert plugin.guard is not None
    rows: list[Any] = await db.fetch("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [await _size(db, row["name"]) for row in rows if plugin.guard.owns(row["name"])]


async def _size(db: Database, table: str) -> TableSize:
    size = await db.fetch_one(
        "SELECT coalesce(sum(pgsize), 0) AS size FROM dbstat WHERE name IN "
        "(SELECT name FROM sqlite_master WHERE tbl_name = ?)",
        (table,),
    )
    rows = await db.fetch_one(f'SELECT count(*) AS n FROM "{table}"')  # noqa: S608 - a name out of the schema
    assert size is not None
    assert rows is not None
    return TableSize(name=table, rows=rows["n"], size_bytes=size["size"])


ROUTES = (list_plugins, get_plugin)
