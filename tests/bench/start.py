"""From starting the process to the first 200 of `/healthz`, and what the daemon holds idle; installed plugins on.

Modules are compiled first, as an installer does. CPU is the process's own, which a busy machine distorts least.

python -m tests.bench.start [--runs 9]
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from heldard.demo.runner import free_port

OUT = Path(".bench/start.json")
ROOT = Path(__file__).parents[2]
SETTLE_S = 3.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


def compile_all() -> None:
    folders = [sysconfig.get_path("purelib"), ROOT / "heldard", *ROOT.glob("plugins/*/heldard_*")]
    for folder in folders:
        compileall.compile_dir(str(folder), quiet=2)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 5)) as client:
        client.request("GET", "/healthz")
        return client.getresponse().status == 200
    return False


@contextlib.contextmanager
def daemon(data_dir: str, port: int) -> Iterator[int]:
    """Its process id."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELDARD_")}
    command = [sys.executable, "-m", "heldard", "serve", "--port", str(port), "--data-dir", data_dir]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def once(data_dir: str) -> tuple[float, float]:
    """Seconds on the clock, and of CPU."""
    port = free_port(0)
    began = time.perf_counter()
    with daemon(data_dir, port) as pid:
        while not answers(port):
            time.sleep(0.002)
        wall_s = time.perf_counter() - began
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return wall_s, (int(fields[11]) + int(fields[12])) * TICK_S


def idle_mib(data_dir: str) -> float:
    port = free_port(0)
    with daemon(data_dir, port) as pid:
        while not answers(port):
            time.sleep(0.01)
        time.sleep(SETTLE_S)
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args(arguments)
    compile_all()
    with tempfile.TemporaryDirectory() as data_dir:
        once(data_dir)  # makes the database
        runs = [once(data_dir) for _ in range(options.runs)]
        memory = idle_mib(data_dir)
    wall_s, cpu_s = (statistics.median(column) for column in zip(*runs, strict=True))
    load = os.getloadavg()[0]
    print(
        f"start to first 200  {wall_s:.2f} s  ({cpu_s:.2f} s of CPU; median of {options.runs}, load average {load:.1f})"
    )
    print(f"idle                {memory:.0f} MiB resident")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "load": load, "idle_mib": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
