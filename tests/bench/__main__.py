"""Every benchmark found in this folder, one after the other, each in a process of its own.

    python -m tests.bench [NAME ...]

A benchmark is a module here with a `main`. It prints a table and leaves its figures in `.bench/<name>.json`; this puts
all of them, and what the machine is, into `.bench/all.json`.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OUT = Path(".bench")
LIMIT_S = 3600


def found() -> list[str]:
    return sorted(
        path.stem for path in HERE.glob("*.py")
        if not path.stem.startswith("_") and "\ndef main(" in path.read_text("utf-8")
    )  # fmt: skip


def run(name: str) -> bool:
    """Whether it ended well. Its table goes straight to the terminal."""
    print(f"== {name}", flush=True)
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], timeout=LIMIT_S, check=False)
    print(f"   {time.perf_counter() - began:.0f} s\n", flush=True)
    return ended.returncode == 0


def machine() -> dict[str, str | int | None]:
    return {
        "python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "cores": os.cpu_count(),
        "machine": platform.machine(), "system": platform.platform(),
    }  # fmt: skip


def main() -> int:
    names = sys.argv[1:] or found()
    unknown = sorted(set(names) - set(found()))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(found())}")
        return 2
    OUT.mkdir(exist_ok=True)
    failed = [name for name in names if not run(name)]
    results = {path.stem: json.loads(path.read_text()) for path in sorted(OUT.glob("*.json")) if path.stem != "all"}
    (OUT / "all.json").write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
