"""Figures for Prometheus: what is counted where it happens, and the text format (version 0.0.4) they are told in.

Every metric is declared in METRICS with its help; the reference page is made from it and nothing else can be exposed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WIDEST = 512
"""Label combinations one counter of requests may have; beyond, they are counted under `other`."""


class Histogram:
    """Counts observations by upper bound. Only ever rises."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(slots=True)
class Meter:
    """What is counted as it happens, because nobody could tell afterwards. One per daemon.

    Latencies in seconds, along the path of data: capture -> ingest (the post arrives) -> commit -> consumer (its claim
    and effects are committed) -> delivered (an event reached a webhook).
    """

    capture_to_ingest: Histogram = field(default_factory=Histogram)
    ingest_to_commit: Histogram = field(default_factory=Histogram)
    ingest_to_consumer: dict[str, Histogram] = field(default_factory=dict)
    event_to_delivered: Histogram = field(default_factory=Histogram)
    batches: int = 0
    detections: int = 0
    duplicates: int = 0
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    request_seconds: Histogram = field(default_factory=Histogram)
    deliveries: Counter[str] = field(default_factory=Counter)
    sources: list[Callable[[Exposition], Awaitable[None]]] = field(default_factory=list)
    """Parts that tell figures of their own at each scrape."""

    def committed(self, captured_ms: int | None, received_ms: int, now_ms: int, detections: int) -> None:
        """A new batch is in the log."""
        self.batches += 1
        self.detections += detections
        if captured_ms is not None:
            self.capture_to_ingest.observe(max(0, received_ms - captured_ms) / 1000)
        self.ingest_to_commit.observe(max(0, now_ms - received_ms) / 1000)

    def consumed(self, consumer: str, received_ms: int, now_ms: int) -> None:
        """A consumer has ended with a batch, live or caught up."""
        found = self.ingest_to_consumer.get(consumer)
        if found is None:
            found = self.ingest_to_consumer.setdefault(consumer, Histogram())
        found.observe(max(0, now_ms - received_ms) / 1000)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, str(status))
        if key not in self.requests and len(self.requests) >= WIDEST:
            key = ("other", "other", "other")
        self.requests[key] += 1
        self.request_seconds.observe(seconds)


@dataclass(frozen=True, slots=True)
class Metric:
    """A declared metric. labels: in the order they are written."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _m(kind: Kind, text: str, *labels: str) -> Metric:
    return Metric(kind, text, labels)


METRICS: Mapping[str, Metric] = {
    # the process
    "heldard_build_info": _m("gauge", "Always 1; the version is the label.", "version"),
    "heldard_start_time_seconds": _m("gauge", "When the daemon started, seconds since the epoch."),
    "heldard_cpu_seconds_total": _m("counter", "CPU time of the daemon itself, decoders not included."),
    "heldard_resident_bytes": _m("gauge", "Memory the daemon holds."),
    "heldard_open_files": _m("gauge", "File descriptors the daemon has open."),
    "heldard_service_restarts_total": _m("counter", "Background services that failed and were started again.", "kind"),
    "heldard_services": _m("gauge", "Background services, by whether they run or wait to be restarted.", "state"),
    # requests
    "heldard_http_requests_total": _m("counter", "Requests answered.", "method", "route", "status"),
    "heldard_http_request_seconds": _m("histogram", "Time to an answer, long polls included."),
    "heldard_http_refused_total": _m("counter", "Requests refused, by the error's code.", "code"),
    # cameras and sampler
    "heldard_cameras": _m("gauge", "Cameras registered."),
    "heldard_tasks_enabled": _m("gauge", "Enabled tasks of enabled cameras."),
    "heldard_stream_state": _m("gauge", "1 for the state a stream is in.", "camera", "profile", "state"),
    "heldard_stream_frames_total": _m("counter", "Frames received from a stream since it was planned.", "camera",
                                      "profile"),
    "heldard_stream_restarts_total": _m("counter", "Restarts of a stream's decoder, by cause.", "camera", "profile",
                                        "cause"),
    "heldard_stream_stalls_total": _m("counter", "Times a stream was given up for silence.", "camera", "profile"),
    "heldard_stream_read_bytes_total": _m("counter", "Compressed video read.", "camera", "profile"),
    "heldard_stream_decode_cpu_seconds_total": _m("counter", "CPU time of a stream's decoders.", "camera", "profile"),
    "heldard_stream_last_frame_age_seconds": _m("gauge", "Age of the newest frame.", "camera", "profile"),
    "heldard_stream_fps": _m("gauge", "Frames per second: wanted by tasks, granted by the budget.", "camera", "profile",
                             "which"),
    # frames
    "heldard_frame_ring_bytes": _m("gauge", "Memory that frames take."),
    "heldard_evidence_lost_total": _m("counter", "Frames that should have been kept and could not be written."),
    # ingest
    "heldard_ingest_batches_total": _m("counter", "Batches committed to the log."),
    "heldard_ingest_detections_total": _m("counter", "Detections committed to the log."),
    "heldard_ingest_duplicates_total": _m("counter", "Batches that were in the log already."),
    "heldard_capture_to_ingest_seconds": _m("histogram", "From a frame's capture to the arrival of its detections."),
    "heldard_ingest_to_commit_seconds": _m("histogram", "From the arrival of a batch to its commit."),
    # the writer
    "heldard_writer_groups_total": _m("counter", "Transactions of the writer, ended either way."),
    "heldard_writer_units_total": _m("counter", "Units of work in them."),
    "heldard_writer_failed_total": _m("counter", "Units that were not committed."),
    "heldard_writer_refused_total": _m("counter", "Units refused because too many waited."),
    "heldard_writer_largest_group": _m("gauge", "Most units committed together so far."),
    "heldard_writer_waiting": _m("gauge", "Units waiting now."),
    "heldard_writer_waiting_bytes": _m("gauge", "Memory held by batches that are not committed yet, roughly."),
    # consumers
    "heldard_consumer_lag_batches": _m("gauge", "Batches a consumer has not ended with.", "consumer"),
    "heldard_consumer_lag_seconds": _m("gauge", "Age of the oldest of them; 0 without any.", "consumer"),
    "heldard_consumer_lanes": _m("gauge", "Lanes: all, and those reading the log to catch up.", "consumer",
                                 "which"),
    "heldard_consumer_delivered_total": _m("counter", "Batches a consumer took.", "consumer"),
    "heldard_consumer_retried_total": _m("counter", "Batches tried again.", "consumer"),
    "heldard_consumer_failed_total": _m("counter", "Batches parked after the last try.", "consumer"),
    "heldard_consumer_timeouts_total": _m("counter", "Calls that took too long.", "consumer"),
    "heldard_consumer_blocked_total": _m("counter", "Calls that held the event loop too long.", "consumer"),
    "heldard_consumer_restarts_total": _m("counter", "Times a consumer's own process was started anew.", "consumer"),
    "heldard_consumer_parked": _m("gauge", "Batches that wait for a re-drive.", "consumer"),
    "heldard_consumer_quarantined": _m("gauge", "1 while a consumer is held.", "consumer"),
    "heldard_ingest_to_consumer_seconds": _m("histogram", "From a batch's arrival to a consumer's commit.",
                                             "consumer"),
    # plugins
    "heldard_plugin_state": _m("gauge", "1 for the state a plugin is in.", "plugin", "state"),
    "heldard_plugin_hook_failures_total": _m("counter", "Hooks of a plugin that raised or took too long.", "plugin"),
    "heldard_plugin_hooks_dropped_total": _m("counter", "Batches and events a plugin was too slow to hear.", "plugin"),
    "heldard_plugin_memory_bytes": _m("gauge", "Memory of a plugin's own processes; 0 where it has none.", "plugin"),
    # events and webhooks
    "heldard_event_last_seq": _m("gauge", "Place of the newest event in the log of events."),
    "heldard_event_to_delivered_seconds": _m("histogram", "From an event to a webhook's 2xx."),
    "heldard_webhook_deliveries_total": _m("counter", "Attempts to deliver, by outcome.", "outcome"),
    "heldard_webhook_lag_events": _m("gauge", "Events a webhook has not been offered yet.", "webhook"),
    "heldard_webhook_dead_letters": _m("gauge", "Deliveries given up, until they are sent again.", "webhook"),
    # leases
    "heldard_leases": _m("gauge", "Tasks held by workers now."),
    "heldard_workers": _m("gauge", "Workers that hold a task now."),
    # disk and retention
    "heldard_disk_total_bytes": _m("gauge", "Size of the disk under the data directory."),
    "heldard_disk_free_bytes": _m("gauge", "Free room on it."),
    "heldard_disk_reserve_bytes": _m("gauge", "Below this, ingest answers 507."),
    "heldard_disk_low": _m("gauge", "1 while the reserve is reached."),
    "heldard_disk_refused_total": _m("counter", "Batches refused for it."),
    "heldard_database_bytes": _m("gauge", "Size of the database file."),
    "heldard_database_used_bytes": _m("gauge", "Pages of it that hold rows."),
    "heldard_database_max_bytes": _m("gauge", "Beyond this, the cheapest rows are shed."),
    "heldard_database_wal_bytes": _m("gauge", "Size of the write-ahead log."),
    "heldard_retention_sweeps_total": _m("counter", "Sweeps that ended."),
    "heldard_retention_failures_total": _m("counter", "Sweeps that the store's trouble cut short."),
    "heldard_retention_rows_total": _m("counter", "Rows deleted, by table.", "table"),
    "heldard_retention_shed_total": _m("counter", "Rows deleted before their time, by what they were.", "what"),
    "heldard_retention_files_total": _m("counter", "Evidence files removed.", "why"),
}  # fmt: skip


class Exposition:
    """Collects samples and writes them down, each metric once with its help."""

    def __init__(self) -> None:
        self._samples: dict[str, list[tuple[tuple[str, ...], float | Histogram]]] = {}

    def add(self, name: str, value: float | Histogram, *labels: str) -> None:
        """One sample. Raises KeyError for a metric that is not declared, ValueError for other labels than declared."""
        if len(labels) != len(METRICS[name].labels):
            raise ValueError(f"{name} has the labels {METRICS[name].labels}")
        self._samples.setdefault(name, []).append((labels, value))

    def text(self) -> str:
        lines: list[str] = []
        for name, metric in METRICS.items():
            if name not in self._samples:
                continue
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
            for labels, value in self._samples[name]:
                lines += _lines(name, dict(zip(metric.labels, labels, strict=True)), value)
        return "\n".join(lines) + "\n"


def _lines(name: str, labels: dict[str, str], value: float | Histogram) -> Iterable[str]:
    if not isinstance(value, Histogram):
        yield f"{name}{_labels(labels)} {_number(value)}"
        return
    so_far = 0
    for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
        so_far += count
        yield f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {so_far}"
    yield f"{name}_sum{_labels(labels)} {_number(value.total)}"
    yield f"{name}_count{_labels(labels)} {so_far}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def reference() -> str:
    """The page `docs/reference/metrics.md`."""
    parts = [_PAGE_HEAD]
    for name, metric in METRICS.items():
        labels = f" Labels: {', '.join(f'`{label}`' for label in metric.labels)}." if metric.labels else ""
        parts.append(f"### {name}\n\n{metric.kind.capitalize()}. {metric.help}{labels}")
    return "\n\n".join(parts) + "\n"


_PAGE_HEAD = """\
# Metrics

Made from the declarations in `heldard/metrics.py` by `heldard pages metrics`; do not edit.

`GET /metrics` answers in the Prometheus text format. It takes a credential with `system:read` and without a camera
scope. Counters begin at zero when the daemon starts and only rise; rates are for the one who asks to make. Counters of
a stream begin anew when it is planned anew.

The path of data has a histogram for each step: `heldard_capture_to_ingest_seconds`, `heldard_ingest_to_commit_seconds`,
`heldard_ingest_to_consumer_seconds` and `heldard_event_to_delivered_seconds`.

What to be told of: `heldard_disk_low == 1`; `heldard_consumer_quarantined == 1`; `heldard_consumer_lag_seconds > 60`;
`heldard_stream_last_frame_age_seconds > 60`; `increase(heldard_writer_refused_total[5m]) > 0`;
`increase(heldard_service_restarts_total[1h]) > 3`; `heldard_webhook_dead_letters > 0`."""
