"""`heldard worker`. What it runs is imported when it runs, so that `heldard --help` is quick."""

from __future__ import annotations

import os
import socket

import click

_HELP = """Run detectors on a kernel's cameras.

The worker asks the kernel at --api for tasks, pulls their frames over HTTP, looks at them with the detector installed
for each task type, and posts what it sees. Run as many as you like, on any machines that reach the kernel: the tasks
are shared out among them.

\b
Examples:
  heldard worker                                         a kernel on this machine
  heldard worker --api http://box:8000 --api-key vok_... a kernel elsewhere, with authentication
  heldard worker --task-types anpr                       only read plates
  heldard worker --detectors                             what this installation can detect

Every option is also read from the environment: HELDARD_WORKER_API, HELDARD_WORKER_API_KEY and so on; the key also
from the systemd credential worker-api-key. SIGTERM and Ctrl-C let the frames under way be posted, give the lease back
and end with status 0.
"""


@click.command(
    "worker", help=_HELP, context_settings={"auto_envvar_prefix": "HELDARD_WORKER", "max_content_width": 110}
)
@click.option("--api", default="http://127.0.0.1:8000", show_default=True, help="Address of the kernel.")
@click.option("--api-key", default="", help="An API key that may ai:tasks, ai:frames and ai:ingest.")
@click.option(
    "--worker-id",
    default=socket.gethostname,
    show_default="host name",
    help="Who holds the leases. Keep it over restarts; give two workers on one machine two names.",
)
@click.option("--task-types", default="", metavar="A,B", help="Only tasks of these types.  [default: all installed]")
@click.option(
    "--poll-interval",
    type=click.FloatRange(1, 100),
    default=10.0,
    show_default=True,
    help="Seconds between asking for tasks.",
)
@click.option(
    "--lease-ttl",
    type=click.IntRange(15, 300),
    default=60,
    show_default=True,
    help="Seconds until another worker may take over if this one dies.",
)
@click.option(
    "--http-timeout", type=click.FloatRange(0.5, 300), default=10.0, show_default=True, help="Seconds per request."
)
@click.option(
    "--give-up",
    type=click.FloatRange(0, 3600),
    default=60.0,
    show_default=True,
    help="Seconds a post is tried again while the kernel is away or busy.",
)
@click.option(
    "--backoff-base",
    type=click.FloatRange(0.001, 60),
    default=0.5,
    show_default=True,
    help="Seconds before the first retry.",
)
@click.option(
    "--backoff-cap",
    type=click.FloatRange(0.1, 600),
    default=15.0,
    show_default=True,
    help="Longest wait between retries, seconds.",
)
@click.option("--detectors", is_flag=True, help="List the installed detectors and end.")
def worker(
    api: str, api_key: str, worker_id: str, task_types: str, poll_interval: float, lease_ttl: int, http_timeout: float,
    give_up: float, backoff_base: float, backoff_cap: float, detectors: bool,
) -> None:  # fmt: skip
    from heldard import credentials
    from heldard.worker.detector import available

    installed = available()
    if detectors:
        for name, entry in installed.items():
            click.echo(f"{name:20} {entry.value}  ({entry.dist.name if entry.dist else 'unknown'})")
        return
    wanted = tuple(part.strip() for part in task_types.split(",") if part.strip()) or tuple(installed)
    missing = [name for name in wanted if name not in installed]
    if missing:
        raise click.BadParameter(
            f"no detector for {missing[0]!r}; installed: {', '.join(installed)}", param_hint="--task-types"
        )
    if lease_ttl < 3 * poll_interval:
        raise click.BadParameter(
            f"must be at least three times --poll-interval ({poll_interval:g} s)", param_hint="--lease-ttl"
        )
    if not api.startswith(("http://", "https://")):
        raise click.BadParameter("must begin with http:// or https://", param_hint="--api")
    key = api_key.strip() or credentials.read(credentials.FOR_WORKER, os.environ) or ""
    from heldard.worker.process import run

    run(
        poll_interval_s=poll_interval, backoff=(backoff_base, backoff_cap),
        api=api, api_key=key, worker_id=worker_id, task_types=wanted, lease_ttl_s=lease_ttl,
        timeout_s=http_timeout, give_up_s=give_up,
    )  # fmt: skip
