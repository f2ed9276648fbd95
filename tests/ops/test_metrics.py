"""Every figure is declared, documented, well-formed, and counts what it says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from heldard import keys, metrics
from heldard.app import build
from heldard.config import settle
from heldard.metrics import METRICS, WIDEST, Exposition, Histogram, Meter

ROOT = Path(__file__).parents[2]
LINE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)')

Client = TestClient[Any, Any]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    tree = {"store": {"data_dir": str(tmp_path)}, "sampler": {"enabled": False}, "outgoing": {"allow_private": True}}
    app = await build(settle(tree), found=())
    async with TestClient(TestServer(app)) as made:
        yield made


async def _scrape(client: Client) -> dict[str, float]:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return read(await answer.text())


def read(text: str) -> dict[str, float]:
    """Samples by name and labels, as written. Fails on a line that is not of the format."""
    samples: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        name = line.rsplit(" ", 1)[0]
        assert name not in samples, f"{name} twice"
        samples[name] = float(match[3])
    return samples


async def _post(client: Client, **batch: Any) -> None:
    async with client.post("/api/v1/ai/events", json={"camera_id": "gate", "task_type": "t", **batch}) as answer:
        await answer.read()


async def test_ingest_counts_batches_detections_duplicates_and_refusals(client: Client) -> None:
    async with client.post("/api/v1/cameras", json={"id": "gate", "name": "Gate"}) as answer:
        assert answer.status == 201
    await _post(client, frame_id="a", detections=[{}, {}])
    await _post(client, frame_id="a", detections=[{}, {}])
    await _post(client, frame_id="b", camera_id="nowhere")
    found = await _scrape(client)
    assert found["heldard_ingest_batches_total"] == 1
    assert found["heldard_ingest_detections_total"] == 2
    assert found["heldard_ingest_duplicates_total"] == 1
    assert found["heldard_ingest_to_commit_seconds_count"] == 1
    assert found['heldard_http_refused_total{code="camera_not_found"}'] == 1
    assert found['heldard_http_requests_total{method="POST",route="/api/v1/ai/events",status="200"}'] == 2
    assert found["heldard_cameras"] == 1
    assert found["heldard_writer_groups_total"] > 0
    assert found["heldard_disk_free_bytes"] > 0


async def test_unknown_paths_are_one_series_however_many_there_are(client: Client) -> None:
    for n, method in enumerate(("GET", "PUT", "PATCH", "DELETE", "OPTIONS")):
        async with client.request(method, f"/nowhere/{n}") as answer:
            assert answer.status == 404
    found = await _scrape(client)
    assert found['heldard_http_requests_total{method="other",route="none",status="404"}'] == 5


async def test_system_tells_of_room_streams_and_what_is_enforced(client: Client) -> None:
    async with client.get("/api/v1/system") as answer:
        system = await answer.json()
    assert system["storage"]["disk"]["free_bytes"] > 0
    assert system["storage"]["database"]["used_bytes"] > 0
    assert system["disk_health_ok"] is True
    assert system["enforcement"] == {
        "machine_auth": "off",
        "ingest_provenance": "warn",
        "frame_tickets_required": False,
    }
    assert system["resident_bytes"] > 1_000_000
    async with client.get("/api/v1/system/db") as answer:
        database = await answer.json()
    assert (database["max_db_gb"], database["max_overridden"], database["incremental"]) == (4.0, False, True)


async def test_webhooks_are_counted_by_what_became_of_each_delivery(client: Client) -> None:
    hook = {"name": "nobody", "url": "http://127.0.0.1:9/hook", "event_types": ["*"]}
    async with client.post("/api/v1/webhooks", json=hook) as answer:
        assert answer.status == 201
        made = await answer.json()
    found = await _scrape(client)
    assert found[f'heldard_webhook_dead_letters{{webhook="{made["id"]}"}}'] == 0
    assert f'heldard_webhook_lag_events{{webhook="{made["id"]}"}}' in found


async def test_other_parts_can_tell_figures_of_their_own(client: Client) -> None:
    async def webhooks(told: Exposition) -> None:
        told.add("heldard_webhook_lag_events", 7, 'a "quoted"\nname\\')

    client.app[keys.METER].sources.append(webhooks)
    found = await _scrape(client)
    assert found['heldard_webhook_lag_events{webhook="a \\"quoted\\"\\nname\\\\"}'] == 7


def test_the_reference_page_is_what_is_declared() -> None:
    assert (ROOT / "docs/reference/metrics.md").read_text() == metrics.reference(), (
        "run: heldard pages metrics > docs/reference/metrics.md"
    )


def test_every_metric_is_documented_and_named_as_prometheus_wants() -> None:
    page = metrics.reference()
    for name, metric in METRICS.items():
        assert f"### {name}\n" in page
        assert re.fullmatch(r"heldard_[a-z0-9_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert metric.help.endswith(".")


def test_what_is_not_declared_cannot_be_told() -> None:
    told = Exposition()
    with pytest.raises(KeyError):
        told.add("heldard_invented", 1)
    with pytest.raises(ValueError, match="has the labels"):
        told.add("heldard_cameras", 1, "gate")


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histograms_buckets_rise_and_end_at_its_count(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    told = Exposition()
    told.add("heldard_http_request_seconds", histogram)
    found = read(told.text())
    buckets = [found[f'heldard_http_request_seconds_bucket{{le="{bound}"}}'] for bound in
               [re.sub(r"\.0$", "", str(bound)) for bound in histogram.bounds] + ["+Inf"]]  # fmt: skip
    assert buckets == sorted(buckets)
    assert buckets[-1] == found["heldard_http_request_seconds_count"] == len(values)
    for bound, count in zip(histogram.bounds, buckets, strict=False):
        assert count == sum(value <= bound for value in values)


def test_requests_have_a_bounded_number_of_series() -> None:
    meter = Meter()
    for n in range(WIDEST + 100):
        meter.answered("GET", f"/{n}", 200, 0.01)
    assert len(meter.requests) == WIDEST + 1
    assert meter.requests["other", "other", "other"] == 100
