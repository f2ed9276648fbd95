"""`GET /metrics`: asks each part for its figures."""

from __future__ import annotations

import resource
from collections import Counter

from aiohttp import web

from heldard import __version__, keys
from heldard.api.endpoint import route
from heldard.api.health import STARTED_MS, open_files, resident_bytes
from heldard.clock import parse_rfc3339
from heldard.fanout.member import Member
from heldard.metrics import Exposition
from heldard.outgoing.routes import WEBHOOKS
from heldard.sampler import routes as sampler_routes
from heldard.sampler.model import SamplerStatus

STATES = ("connecting", "sampling", "stalled", "offline", "error", "stopped", "budget_exhausted")
PLUGIN_STATES = ("active", "refused", "disabled")


@route("GET", "/metrics", capability="system:read", unscoped=True, tag="health", produces="text/plain")
async def metrics(request: web.Request) -> web.Response:
    """Everything that is counted, as Prometheus text."""
    app, told = request.app, Exposition()
    _process(app, told)
    _requests(app, told)
    _cameras(app, told)
    _ingest(app, told)
    for member in app[keys.FANOUT].members():
        await _consumer(app, told, member)
    _plugins(app, told)
    _leases(app, told)
    await _storage(app, told)
    for outcome, count in sorted(app[keys.METER].deliveries.items()):
        told.add("heldard_webhook_deliveries_total", count, outcome)
    for hook in app[WEBHOOKS].all():
        told.add("heldard_webhook_lag_events", app[WEBHOOKS].lag(hook), hook.id)
        told.add("heldard_webhook_dead_letters", await app[WEBHOOKS].dead_letters(hook), hook.id)
    for source in app[keys.METER].sources:
        await source(told)
    return web.Response(text=told.text(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def _process(app: web.Application, told: Exposition) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told.add("heldard_build_info", 1, __version__)
    told.add("heldard_start_time_seconds", app[STARTED_MS] / 1000)
    told.add("heldard_cpu_seconds_total", usage.ru_utime + usage.ru_stime)
    told.add("heldard_resident_bytes", resident_bytes())
    told.add("heldard_open_files", open_files())
    restarts: Counter[str] = Counter()
    states: Counter[str] = Counter(running=0, waiting=0, stopped=0)
    for status in app[keys.SUPERVISOR].status():
        restarts[status.name.replace(":", ".").partition(".")[0]] += status.restarts
        states[status.state] += 1
    for kind, count in sorted(restarts.items()):
        told.add("heldard_service_restarts_total", count, kind)
    for state, count in sorted(states.items()):
        told.add("heldard_services", count, state)


def _requests(app: web.Application, told: Exposition) -> None:
    meter = app[keys.METER]
    for labels, count in sorted(meter.requests.items()):
        told.add("heldard_http_requests_total", count, *labels)
    told.add("heldard_http_request_seconds", meter.request_seconds)
    for code, count in sorted(meter.refused.items()):
        told.add("heldard_http_refused_total", count, code)


def _cameras(app: web.Application, told: Exposition) -> None:
    told.add("heldard_cameras", len(app[keys.CAMERAS].all()))
    told.add("heldard_tasks_enabled", len(app[keys.TASKS].active()))
    told.add("heldard_frame_ring_bytes", app[keys.FRAMES].size_bytes)
    told.add("heldard_evidence_lost_total", app[keys.FANOUT].evidence_lost)
    for status in app[sampler_routes.SAMPLER].status():
        _stream(told, status)


def _stream(told: Exposition, status: SamplerStatus) -> None:
    who = (status.camera_id, status.stream_profile)
    for state in STATES:
        told.add("heldard_stream_state", int(status.state == state), *who, state)
    told.add("heldard_stream_frames_total", status.frames, *who)
    told.add("heldard_stream_stalls_total", status.stalls, *who)
    told.add("heldard_stream_read_bytes_total", status.bytes, *who)
    told.add("heldard_stream_decode_cpu_seconds_total", status.decode_cpu_s, *who)
    told.add("heldard_stream_fps", status.wanted_fps, *who, "wanted")
    told.add("heldard_stream_fps", status.fps, *who, "granted")
    for cause, count in sorted(status.restarts.items()):
        told.add("heldard_stream_restarts_total", count, *who, cause)
    if status.last_frame_age_ms is not None:
        told.add("heldard_stream_last_frame_age_seconds", status.last_frame_age_ms / 1000, *who)


def _ingest(app: web.Application, told: Exposition) -> None:
    meter, figures = app[keys.METER], app[keys.DB].writer.figures
    told.add("heldard_ingest_batches_total", meter.batches)
    told.add("heldard_ingest_detections_total", meter.detections)
    told.add("heldard_ingest_duplicates_total", meter.duplicates)
    told.add("heldard_capture_to_ingest_seconds", meter.capture_to_ingest)
    told.add("heldard_ingest_to_commit_seconds", meter.ingest_to_commit)
    told.add("heldard_event_to_delivered_seconds", meter.event_to_delivered)
    told.add("heldard_event_last_seq", app[keys.EVENTS].last_seq)
    told.add("heldard_writer_groups_total", figures.groups)
    told.add("heldard_writer_units_total", figures.units)
    told.add("heldard_writer_failed_total", figures.failed)
    told.add("heldard_writer_refused_total", figures.refused)
    told.add("heldard_writer_largest_group", figures.largest_group)
    told.add("heldard_writer_waiting", app[keys.DB].writer.waiting)
    told.add("heldard_writer_waiting_bytes", app[keys.DB].writer.waiting_bytes)


async def _consumer(app: web.Application, told: Exposition, member: Member) -> None:
    name = member.consumer.name
    status = await app[keys.FANOUT].status(member)
    told.add("heldard_consumer_lag_batches", status.lag, name)
    oldest = status.oldest_unfinished_at
    age_s = 0.0 if oldest is None else max(0, app[keys.CLOCK].now_ms() - parse_rfc3339(oldest)) / 1000
    told.add("heldard_consumer_lag_seconds", age_s, name)
    told.add("heldard_consumer_lanes", len(member.lanes), name, "all")
    told.add("heldard_consumer_lanes", sum(lane.behind for lane in member.lanes.values()), name, "behind")
    told.add("heldard_consumer_delivered_total", status.delivered, name)
    told.add("heldard_consumer_retried_total", status.retried, name)
    told.add("heldard_consumer_failed_total", status.failed, name)
    told.add("heldard_consumer_timeouts_total", status.timeouts, name)
    told.add("heldard_consumer_blocked_total", status.blocked, name)
    told.add("heldard_consumer_restarts_total", status.restarts, name)
    told.add("heldard_consumer_parked", status.parked, name)
    told.add("heldard_consumer_quarantined", int(status.state == "quarantined"), name)
    if (seconds := app[keys.METER].ingest_to_consumer.get(name)) is not None:
        told.add("heldard_ingest_to_consumer_seconds", seconds, name)


def _plugins(app: web.Application, told: Exposition) -> None:
    for plugin in app[keys.PLUGINS].all:
        for state in PLUGIN_STATES:
            told.add("heldard_plugin_state", int(plugin.state == state), plugin.name, state)
        told.add("heldard_plugin_hook_failures_total", plugin.told_failures, plugin.name)
        told.add("heldard_plugin_hooks_dropped_total", plugin.told_dropped, plugin.name)
        members = [member for member in app[keys.FANOUT].members() if member.plugin == plugin.name]
        memory = sum(member.driver.rss_bytes or 0 for member in members)
        told.add("heldard_plugin_memory_bytes", memory, plugin.name)


def _leases(app: web.Application, told: Exposition) -> None:
    live = [lease for lease, _, held in app[keys.LEASES].all() if held]
    told.add("heldard_leases", len(live))
    told.add("heldard_workers", len({(lease.credential, lease.worker_id) for lease in live}))


async def _storage(app: web.Application, told: Exposition) -> None:
    retention = app[keys.RETENTION]
    disk, figures = retention.guard.view(), retention.figures
    told.add("heldard_disk_total_bytes", disk.total_bytes)
    told.add("heldard_disk_free_bytes", disk.free_bytes)
    told.add("heldard_disk_reserve_bytes", disk.reserve_bytes)
    told.add("heldard_disk_low", int(disk.low))
    told.add("heldard_disk_refused_total", retention.guard.refused)
    size = await retention.size()
    told.add("heldard_database_bytes", size.db_bytes)
    told.add("heldard_database_used_bytes", size.used_bytes)
    told.add("heldard_database_max_bytes", size.max_bytes)
    told.add("heldard_database_wal_bytes", size.wal_bytes)
    told.add("heldard_retention_sweeps_total", figures.sweeps)
    told.add("heldard_retention_failures_total", figures.failures)
    for table, count in sorted(figures.rows.items()):
        told.add("heldard_retention_rows_total", count, table)
    for what, count in sorted(figures.shed.items()):
        told.add("heldard_retention_shed_total", count, what)
    told.add("heldard_retention_files_total", figures.evidence_files, "age_or_size")
    told.add("heldard_retention_files_total", figures.orphan_files, "no_row")


ROUTES = (metrics,)
