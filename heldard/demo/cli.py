"""`heldard demo`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

_HELP = """Show the whole path of data on a real video.

Renders a short scene at a gate (once), starts the daemon on it with two cameras, and the reference worker as a second
process; prints each event as it comes and serves a live page. It needs the extra `heldard[worker]` and the plugins
heldard-zones and heldard-anpr. Everything is kept below --folder; each run begins with an empty database.

Ends with status 0 only if frames, detections, zone events and plate events really happened.
"""


@click.command("demo", help=_HELP)
@click.option("--seconds", type=click.FloatRange(1, 86400), help="Stop by itself.  [default: at Ctrl-C]")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"), show_default=True,
              help="Where video, database and logs are kept.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Else any free one.")
def demo(seconds: float | None, folder: Path, port: int) -> None:
    from heldard.demo.runner import run  # OpenCV is loaded here, not for every command

    sys.exit(asyncio.run(run(folder, port, seconds, lambda line: click.echo(line))))
