"""Ingest: the real daemon with zones and plates on, beside the straightforward baseline, from one generator.

python -m tests.bench.ingest [--seconds 2] [--full-grid] [--growth]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from heldard.demo.runner import free_port
from tests.bench.ingest_load import camera_of

OUT = Path(".bench/ingest.json")
CELLS = [(10, 1), (10, 8), (10, 32), (10, 128), (1, 32), (100, 8), (1000, 8)]
GRID = [(detections, connections) for detections in (1, 10, 100, 1000) for connections in (1, 8, 32, 128)]
PIDS: dict[str, int] = {}
"""Process of each running server, by its address."""

ZONES = [[[0.0, 0.3], [0.5, 0.3], [0.5, 1.0], [0.0, 1.0]], [[0.4, 0.2], [1.0, 0.2], [1.0, 0.9], [0.4, 0.9]]]


def ask(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        raw = response.read()
        return json.loads(raw) if raw else None


def until_ready(base: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, f"it ended with {process.returncode}"
        with contextlib.suppress(urllib.error.URLError, OSError):
            ask("GET", f"{base}/readyz")
            return
        time.sleep(0.1)
    raise AssertionError("not ready")


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[str]:
    """A server process; its address."""
    base = f"http://127.0.0.1:{port}"
    with log.open("ab") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=os.environ)
    PIDS[base] = process.pid
    try:
        until_ready(base, process)
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextlib.contextmanager
def heldard(folder: Path, durability: str, plugins: bool = True) -> Iterator[str]:
    """The daemon on `folder`, with cameras, tasks and zones when it is new."""
    port = free_port(0)
    config = folder / "heldard.toml"
    known = {point.name for point in metadata.entry_points(group="heldard")}
    disabled = sorted(known - {"zones", "anpr"} if plugins else known)
    config.write_text(
        f'[store]\ndata_dir = "{folder / "data"}"\ndurability = "{durability}"\n'
        f'[plugins]\ndisabled = {json.dumps(disabled)}\n[logs]\nlevel = "warning"\n[ingest]\nprovenance = "off"\n'
    )
    command = [sys.executable, "-m", "heldard", "serve", "--config", str(config), "--port", str(port)]
    with running(command, port, folder / "daemon.log") as base:
        if not ask("GET", f"{base}/api/v1/cameras"):
            furnish(base, plugins)
        yield base


def furnish(base: str, zones: bool) -> None:
    for camera in sorted({camera_of(number)[0] for number in range(16)}):
        ask("POST", f"{base}/api/v1/cameras", {"id": camera, "name": camera})
        for n, polygon in enumerate(ZONES if zones else []):
            ask("POST", f"{base}/api/v1/cameras/{camera}/zones", {"name": f"zone {n}", "polygon": polygon,
                                                                 "dwell_seconds": 5})  # fmt: skip


@contextlib.contextmanager
def baseline(folder: Path, durability: str) -> Iterator[str]:
    port = free_port(0)
    command = [sys.executable, "-m", "tests.bench.baseline", str(folder / "baseline.db"), str(port), durability]
    with running(command, port, folder / "baseline.log") as base:
        yield base


def cpu_s(base: str) -> float:
    """CPU seconds that a server has used, all its threads."""
    fields = Path(f"/proc/{PIDS[base]}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(base: str, connections: int, detections: int, seconds: float) -> dict[str, Any]:
    """One cell. Raises AssertionError when any batch was not taken."""
    host, port = base.removeprefix("http://").split(":")
    run = f"r{time.monotonic_ns() // 1_000_000 % 10**8}"
    command = [sys.executable, "-m", "tests.bench.ingest_load", host, port, str(connections), str(detections),
               str(seconds), run]  # fmt: skip
    before = cpu_s(base)
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    found["cpu_us_per_batch"] = (cpu_s(base) - before) * 1_000_000 / found["answered"]
    assert found["error_count"] == 0, found["errors"]
    return found


def measure(seconds: float, cells: list[tuple[int, int]], durabilities: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each cell for both, one after the other, so that what else the machine does falls on both."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="heldard-bench-") as place:
        for durability in durabilities:
            ours_at, theirs_at = (Path(place) / f"{name}-{durability}" for name in ("ours", "theirs"))
            ours_at.mkdir()
            theirs_at.mkdir()
            with heldard(ours_at, durability) as ours, baseline(theirs_at, durability) as theirs:
                for detections, connections in cells:
                    theirs_found = load(theirs, connections, detections, seconds)
                    ours_found = load(ours, connections, detections, seconds)
                    rows.append(_row(durability, detections, connections, ours_found, theirs_found))
                    print(_line(rows[-1]), flush=True)
    return rows


def _row(durability: str, detections: int, connections: int, ours: Any, theirs: Any) -> dict[str, Any]:
    return {
        "durability": durability, "detections": detections, "connections": connections, "heldard": ours,
        "baseline": theirs, "rate_ratio": ours["batches_per_s"] / theirs["batches_per_s"],
        "p99_ratio": ours["p99_ms"] / theirs["p99_ms"],
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    ours, theirs = row["heldard"], row["baseline"]
    return (
        f"{row['durability']:<7} {row['detections']:>5} det {row['connections']:>4} conns   "
        f"heldard {ours['batches_per_s']:>7.0f}/s p99 {ours['p99_ms']:>7.1f} ms, fanned out {ours['fanned_out']:>4.0%} "
        f"baseline {theirs['batches_per_s']:>6.0f}/s p99 {theirs['p99_ms']:>7.1f} ms   "
        f"{row['rate_ratio']:>5.1f}x rate, {row['p99_ratio']:.3f}x p99; "
        f"CPU {ours['cpu_us_per_batch']:.0f} and {theirs['cpu_us_per_batch']:.0f} us"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Ingest beside a straightforward baseline")
    parser.add_argument("--seconds", type=float, default=2.0, help="per cell and side")
    parser.add_argument("--full-grid", action="store_true", help="1, 10, 100, 1000 detections x 1, 8, 32, 128 conns")
    parser.add_argument("--durability", action="append", choices=("full", "normal"))
    given = parser.parse_args(arguments)
    durabilities = tuple(given.durability or ("full", "normal"))
    rows = measure(given.seconds, GRID if given.full_grid else CELLS, durabilities)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
