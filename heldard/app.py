"""The map: builds every part of heldard in order, and stops them in the order that loses nothing.

    camera -> sampler -> frames -> (worker) -> ingest -> log -> fanout -> events

Nothing else wires anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
from collections.abc import AsyncIterator, Sequence

import structlog
from aiohttp import web

from heldard import keys
from heldard.api import health, metrics, middleware, openapi
from heldard.api import plugins as plugin_routes
from heldard.api.endpoint import AUDITOR, GUARD, PRINCIPAL, Endpoint
from heldard.api.origin import same_origin
from heldard.api.page import routes as page
from heldard.auth import routes as auth_routes
from heldard.auth.audit import AuditLog
from heldard.auth.guard import AccessGuard
from heldard.auth.seal import Seal, load_key
from heldard.auth.service import Access
from heldard.auth.store import AccessStore
from heldard.cameras import routes as camera_routes
from heldard.cameras.model import Camera
from heldard.cameras.service import Cameras
from heldard.cameras.store import CameraStore
from heldard.cameras.urls import stream_url
from heldard.clock import Clock, SystemClock
from heldard.config import Settings, check_plugin_sections
from heldard.db.database import Database
from heldard.db.guard import SqlGuard
from heldard.db.names import Names
from heldard.erasure import routes as erasure_routes
from heldard.erasure.model import EVENT_TYPES as ERASURE_EVENTS
from heldard.erasure.service import Erasures
from heldard.erasure.store import ErasureStore
from heldard.errors import ConfigError
from heldard.events import routes as event_routes
from heldard.events.service import Events
from heldard.fanout import routes as fanout_routes
from heldard.fanout.actions import Actions
from heldard.fanout.service import Fanout
from heldard.frames import media
from heldard.frames import routes as frame_routes
from heldard.frames.evidence import EvidenceStore
from heldard.frames.ring import FrameRings
from heldard.ingest import routes as ingest_routes
from heldard.ingest.binding import Binder
from heldard.ingest.log import DetectionLog
from heldard.ingest.service import Ingest
from heldard.ingest.sources import Sources
from heldard.leases import routes as lease_routes
from heldard.leases.service import Leases
from heldard.leases.store import LeaseStore
from heldard.metrics import Meter
from heldard.outgoing import routes as outgoing_routes
from heldard.outgoing.service import EVENT_TYPES as WEBHOOK_EVENTS
from heldard.outgoing.service import Webhooks
from heldard.outgoing.store import WebhookStore
from heldard.outgoing.stream import Streams
from heldard.plugin import Batch, EventDraft
from heldard.plugin_context import KernelContext, KernelParts
from heldard.plugins import (
    Brought,
    Plugin,
    Plugins,
    bring,
    discover,
    plugin_migrations,
    read_settings,
    shape_of,
    sources,
)
from heldard.retention.disk import DiskGuard
from heldard.retention.model import EVENT_TYPES as RETENTION_EVENTS
from heldard.retention.service import Retention
from heldard.retention.store import RetentionStore
from heldard.sampler import routes as sampler_routes
from heldard.sampler.model import SampledTask
from heldard.sampler.service import EVENT_TYPES as SAMPLER_EVENTS
from heldard.sampler.service import SamplerService
from heldard.sampler.source import check_source
from heldard.store_watch import StoreWatch
from heldard.supervisor import Supervisor
from heldard.tasks import routes as task_routes
from heldard.tasks.service import Tasks
from heldard.tasks.store import TaskStore

CONTEXTS = web.AppKey("contexts", dict[str, KernelContext])
ROUTES = web.AppKey("routes", list[Endpoint])
BROUGHT = web.AppKey("brought", dict[str, Brought])

MEBIBYTE = 1024 * 1024

log = structlog.get_logger("heldard")


async def build(
    settings: Settings, clock: Clock | None = None, found: Sequence[Plugin] | None = None
) -> web.Application:
    """The whole daemon as an application: opened and driving when it starts, drained and closed when it stops.

    clock: the machine's when None. found: plugins to use instead of the installed ones.
    """
    clock = clock or SystemClock()
    open_to_names = settings.auth.enabled or settings.auth.allow_insecure
    app = web.Application(middlewares=[middleware.measured, middleware.errors, same_origin(any_host=open_to_names)])
    app[keys.SETTINGS] = settings
    app[keys.CLOCK] = clock
    app[keys.METER] = Meter()
    app[health.STARTED_MS] = clock.now_ms()
    await _store(app, settings, clock)
    try:
        await _registry(app, settings, clock)
        await _access(app, settings, clock)
        await _path_of_data(app, settings, clock)
        await _bounds(app, settings, clock)
        await _outgoing(app, settings, clock)
        await _plugins(app, settings, found)
        _routes(app)
    except BaseException:
        await app[keys.DB].close()  # its threads would keep the process from ending
        raise
    app.cleanup_ctx.append(_running)
    return app


async def _store(app: web.Application, settings: Settings, clock: Clock) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"store.data_dir {settings.data_dir} cannot be made: {error.strerror}") from None
    app[keys.SUPERVISOR] = Supervisor(clock)
    store = settings.store
    db = Database(
        settings.data_dir / "heldard.db", clock, store.durability, store.queue_limit, store.queue_mb * MEBIBYTE
    )
    app[keys.DB] = db
    await db.open()
    app[event_routes.NAMES] = Names(db)
    await app[event_routes.NAMES].load()


async def _registry(app: web.Application, settings: Settings, clock: Clock) -> None:
    db, names = app[keys.DB], app[event_routes.NAMES]
    seal = Seal(load_key(settings.data_dir, os.environ))
    registry = Cameras(
        CameraStore(db, seal), clock, settings.server.site_id, lambda url: check_source(url, settings.sampler)
    )
    await registry.load()
    await names.intern(camera.id for camera in registry.all())
    app[keys.CAMERAS] = registry
    sampler = settings.sampler
    app[keys.TASKS] = Tasks(TaskStore(db), registry, clock, sampler.default_fps, sampler.default_width)
    await app[keys.TASKS].load()
    app[keys.EVENTS] = Events(db, names, clock, lambda camera_id: _site_of(registry, camera_id, settings))
    await app[keys.EVENTS].load()
    await app[keys.EVENTS].register(SAMPLER_EVENTS)


async def _access(app: web.Application, settings: Settings, clock: Clock) -> None:
    """Who may do what, and who works on what."""
    store = AccessStore(app[keys.DB])
    # Tickets outlive the process: what was seen when the daemon was stopped is taken in by the next one.
    ticket_key = hmac.digest(load_key(settings.data_dir, os.environ), b"frame tickets", "sha256")
    app[AUDITOR] = app[auth_routes.AUDIT] = audit = AuditLog(store, clock)
    app[keys.ACCESS] = access = Access(store, audit, settings.auth, clock, app[keys.SUPERVISOR].once)
    await access.load(os.environ)
    app[GUARD] = AccessGuard(access.resolve, access.refused, enabled=settings.auth.enabled)
    app[keys.LEASES] = Leases(
        LeaseStore(app[keys.DB]), app[keys.TASKS], clock, ticket_key, settings.ingest.frame_ticket_ttl_s,
        bound_ids=settings.auth.machine == "enforce",
    )  # fmt: skip
    await app[keys.LEASES].load()


def _site_of(registry: Cameras, camera_id: str | None, settings: Settings) -> str | None:
    camera = registry.find(camera_id) if camera_id is not None else None
    return (camera.site_id if camera is not None else None) or settings.server.site_id


async def _path_of_data(app: web.Application, settings: Settings, clock: Clock) -> None:
    db, names, events = app[keys.DB], app[event_routes.NAMES], app[keys.EVENTS]
    supervisor = app[keys.SUPERVISOR]
    limits = settings.sampler
    rings = FrameRings(
        clock, seconds=limits.ring_seconds, ring_bytes=limits.ring_mb * MEBIBYTE,
        total_bytes=limits.ring_total_mb * MEBIBYTE,
    )  # fmt: skip
    app[keys.FRAMES] = rings
    sampler = SamplerService(
        limits, clock, supervisor, rings, lambda: _sampled(app), events.emit, str(settings.data_dir.resolve())
    )
    app[sampler_routes.SAMPLER] = sampler
    app[frame_routes.DESK] = frame_routes.FrameDesk(rings, sampler, _ticket, max_clients=limits.max_stream_clients)
    app[frame_routes.DESK].asked = _frame_asked
    app[media.EVIDENCE] = EvidenceStore(settings.data_dir)
    sources = Sources(db, names)
    app[keys.LOG] = DetectionLog(db, names, sources, rings)
    app[keys.FANOUT] = Fanout(
        db, names, sources, events, app[keys.LOG], rings, app[media.EVIDENCE], supervisor, clock, settings.fanout
    )
    app[keys.INGEST] = Ingest(
        db, names, sources, app[keys.CAMERAS], app[keys.TASKS], events, app[keys.FANOUT], app[keys.LOG], rings, clock,
        settings.ingest,
    )  # fmt: skip
    app[keys.BINDER] = Binder(
        settings.ingest.provenance, app[keys.LEASES], app[keys.TASKS], app[keys.CAMERAS], events, clock
    )


async def _bounds(app: web.Application, settings: Settings, clock: Clock) -> None:
    """What keeps the box within its limits: ingest and evidence ask the disk's guard, retention makes room."""
    events, evidence = app[keys.EVENTS], app[media.EVIDENCE]
    await events.register(RETENTION_EVENTS)
    guard = DiskGuard(settings.data_dir, settings.retention)
    app[keys.INGEST].check_room = guard.admit
    evidence.has_room = lambda: not guard.low
    app[keys.INGEST].meter = app[keys.FANOUT].meter = app[keys.METER]
    app[keys.RETENTION] = Retention(
        RetentionStore(app[keys.DB]), evidence, app[keys.INGEST].sources, guard, clock, events.emit, settings.retention
    )
    await app[keys.RETENTION].load()
    await events.register(ERASURE_EVENTS)
    app[keys.ERASURES] = Erasures(
        ErasureStore(app[keys.DB], app[event_routes.NAMES]), evidence, events, clock, app[keys.SUPERVISOR]
    )


async def _outgoing(app: web.Application, settings: Settings, clock: Clock) -> None:
    """Events on their way out."""
    events, outgoing = app[keys.EVENTS], settings.outgoing
    await events.register(WEBHOOK_EVENTS)
    seal = Seal(load_key(settings.data_dir, os.environ))
    app[outgoing_routes.STREAMS] = Streams(events, outgoing.max_stream_clients, outgoing.heartbeat_s)
    app[outgoing_routes.WEBHOOKS] = Webhooks(
        WebhookStore(app[keys.DB]), events, seal, clock, app[keys.SUPERVISOR], outgoing, app[keys.METER]
    )
    await app[outgoing_routes.WEBHOOKS].load()


async def _ticket(request: web.Request, camera_id: str, task_id: str, captured_ms: int) -> str | None:
    return request.app[keys.LEASES].mint(request[PRINCIPAL].id, camera_id, task_id, captured_ms)


def _frame_asked(request: web.Request, task_id: str) -> None:
    request.app[keys.LEASES].pulled(request[PRINCIPAL].id, task_id)


async def _sampled(app: web.Application) -> list[SampledTask]:
    """What the sampler is asked for, now."""
    return [
        SampledTask(
            camera_id=camera.id, profile=task.stream_profile, priority=camera.priority, fps=task.fps, width=task.width,
            url=stream_url(camera, task.stream_profile),
        )
        for task, camera in app[keys.TASKS].active()
    ]  # fmt: skip


async def _plugins(app: web.Application, settings: Settings, found: Sequence[Plugin] | None) -> None:
    """Each plugin in turn: settings, tables, event types, consumers, actions. What fails is refused, not fatal."""
    chosen = settings.plugins
    installed = discover(chosen.disabled, data_dir=settings.data_dir) if found is None else found
    everything = Plugins(installed, chosen.order)
    for name in check_plugin_sections(settings, [plugin.name for plugin in everything.all]):
        log.warning("plugin_settings_unused", section=f"plugins.{name}", note="no such plugin is installed")
    app[keys.PLUGINS] = everything
    app[CONTEXTS] = {}
    app[keys.FANOUT].decide_severity = everything.decide_severity
    actions = Actions(app[keys.DB], app[keys.CLOCK], app[keys.SUPERVISOR])
    app[keys.ACTIONS] = actions
    app[keys.FANOUT].on_actions = actions.poke
    app[keys.FANOUT].watchdog.owner_of = everything.owner_of
    app[BROUGHT] = {}
    refused = [plugin for plugin in everything.all if plugin.state == "refused"]
    for plugin in refused:
        log.error("plugin_refused", plugin=plugin.name, reason=plugin.reason)
    taken = {shape_of(endpoint) for endpoint in kernel_routes()}
    for plugin in list(everything.active):
        try:
            await _set_up(app, settings, plugin, taken)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises refuses that plugin only
            everything.refuse(plugin, error)
            refused.append(plugin)
    app[keys.STORE_WATCH] = StoreWatch(app[keys.DB], everything.active, app[keys.FANOUT], app[keys.CLOCK])
    if refused and chosen.strict:
        reasons = "; ".join(f"{plugin.name}: {plugin.reason}" for plugin in refused)
        raise ConfigError(f"plugins.strict is set and some were refused: {reasons}", code="plugin_refused")


async def _set_up(app: web.Application, settings: Settings, plugin: Plugin, taken: set[tuple[str, str]]) -> None:
    """Everything the plugin brings, or, when anything of it is wrong, nothing but its tables."""
    db, fanout, events, actions = app[keys.DB], app[keys.FANOUT], app[keys.EVENTS], app[keys.ACTIONS]
    plugin.settings = read_settings(plugin, settings.plugins.sections.get(plugin.name, {}))
    plugin.guard = SqlGuard(plugin.name, plugin.tables, db.connect_reader)
    await db.migrate(plugin.name, plugin_migrations(plugin))
    context = KernelContext(plugin, _parts(app, settings))
    paths = set(taken)
    brought = bring(plugin, context, paths)
    with contextlib.ExitStack() as undo:
        await events.register(brought.event_types)
        undo.callback(events.unregister, brought.event_types)
        undo.callback(fanout.unregister, plugin.name)
        for consumer in brought.consumers:
            await fanout.register(plugin.name, consumer, plugin.guard)
        undo.callback(actions.unregister, brought.actions)
        for handler in brought.actions:
            actions.register(handler)
        undo.callback(app[keys.ERASURES].unregister, brought.erasers)
        for eraser in brought.erasers:
            app[keys.ERASURES].register(eraser, context)
        undo.pop_all()
    taken |= paths
    app[CONTEXTS][plugin.name], app[BROUGHT][plugin.name] = context, brought


def _parts(app: web.Application, settings: Settings) -> KernelParts:
    return KernelParts(
        app[keys.DB], app[keys.CAMERAS], app[keys.FANOUT], app[keys.LOG], app[keys.FRAMES], app[media.EVIDENCE],
        app[keys.ERASURES], app[keys.CLOCK], settings.server.site_id, settings.server.timezone,
    )  # fmt: skip


def kernel_routes() -> list[Endpoint]:
    modules = (
        health, metrics, plugin_routes, auth_routes, camera_routes, task_routes, lease_routes, sampler_routes,
        frame_routes, media, ingest_routes, fanout_routes, event_routes, outgoing_routes, erasure_routes, openapi, page,
    )  # fmt: skip
    return [endpoint for module in modules for endpoint in module.ROUTES]


def _routes(app: web.Application) -> None:
    """The kernel's routes, then each plugin's, and the document that describes them."""
    endpoints = kernel_routes()
    for brought in app[BROUGHT].values():
        endpoints += brought.routes
    app[ROUTES] = endpoints
    app[openapi.DESCRIPTION] = openapi.Description(
        endpoints, auth=app[keys.SETTINGS].auth.enabled, sources=sources(app[keys.PLUGINS].all)
    )
    for endpoint in endpoints:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.bind())


async def _running(app: web.Application) -> AsyncIterator[None]:
    """Start driving; when the server has stopped listening: stop sampling, drain for the grace period, close."""
    everything, supervisor = app[keys.PLUGINS], app[keys.SUPERVISOR]
    _watch(app)
    await app[keys.FANOUT].start()
    await app[keys.ACTIONS].start()
    app[keys.ERASURES].start()
    supervisor.start("retention", app[keys.RETENTION].run)
    supervisor.start("store.watch", app[keys.STORE_WATCH].run)
    await app[outgoing_routes.WEBHOOKS].start()
    supervisor.start("auth.refresh", app[keys.ACCESS].keep_fresh)
    for plugin in everything.active:
        for service in app[BROUGHT][plugin.name].services:
            supervisor.start(f"plugin.{plugin.name}.{service.name}", service.run)
    for plugin in everything.active:
        await everything.tell_one(plugin, "heldard_on_start", ctx=app[CONTEXTS][plugin.name])
    await app[sampler_routes.SAMPLER].start()
    yield
    await app[sampler_routes.SAMPLER].stop()
    try:
        async with asyncio.timeout(app[keys.SETTINGS].server.stop_grace_s):
            await app[keys.FANOUT].drain()
    except TimeoutError:
        log.warning("drain_cut_short", note="what is left is finished at the next start")
    await app[outgoing_routes.WEBHOOKS].stop()
    await supervisor.stop()
    for plugin in everything.active:
        await everything.tell_one(plugin, "heldard_on_stop", ctx=app[CONTEXTS][plugin.name])
    await app[keys.FANOUT].stop()
    await app[keys.ACCESS].close()
    await app[keys.DB].close()
    for plugin in everything.all:  # only now: the writer checked what plugins wrote to the end
        if plugin.guard is not None:
            plugin.guard.close()


def _watch(app: web.Application) -> None:
    """Who is told of what."""
    everything, supervisor = app[keys.PLUGINS], app[keys.SUPERVISOR]
    sampler = app[sampler_routes.SAMPLER]

    async def camera_changed(camera_id: str, camera: Camera | None) -> None:
        if camera is None:
            app[keys.TASKS].camera_removed(camera_id)
            await app[keys.FANOUT].forget_camera(camera_id)
            await app[keys.LOG].forget_camera(camera_id)
            await everything.tell("heldard_on_camera_deleted", camera_id=camera_id)
        else:
            await app[event_routes.NAMES].intern([camera_id])
            await everything.tell("heldard_on_camera_changed", camera=camera.info)
        sampler.poke()

    def event_committed(_seq: int, draft: EventDraft) -> None:
        everything.tell_soon("heldard_on_event", event=draft)

    def batch_committed(batch: Batch) -> None:
        everything.tell_soon("heldard_on_batch", batch=batch)

    everything.start_telling(supervisor)

    app[keys.CAMERAS].watchers.append(camera_changed)
    app[keys.TASKS].watchers.append(sampler.poke)
    if everything.listens("heldard_on_event"):
        app[keys.EVENTS].listeners.append(event_committed)
    if everything.listens("heldard_on_batch"):
        app[keys.FANOUT].on_batch = batch_committed
