"""`heldard zones`: asks the running daemon."""

from __future__ import annotations

import json
from typing import Any

import click

from heldard.plugin import call_api


@click.group()
def zones() -> None:
    """Zones and lines of the running daemon."""


def _daemon(command: Any) -> Any:
    options = (
        click.option("--url", default="http://127.0.0.1:8000", envvar="HELDARD_URL", help="Where the daemon listens."),
        click.option("--api-key", envvar="HELDARD_API_KEY", help="Needed where auth is on."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@zones.command("list")
@click.argument("camera")
@_daemon
def list_zones(camera: str, url: str, api_key: str | None) -> None:
    """The zones of CAMERA with what is in them."""
    found = call_api("GET", f"{url}/api/v1/cameras/{camera}/zones", api_key)
    inside = call_api("GET", f"{url}/api/v1/cameras/{camera}/zones/occupancy", api_key)["zones"]
    counts = {figures["zone_id"]: figures for figures in inside}
    for zone in found:
        figures = counts.get(zone["id"], {"count": 0, "static_count": 0})
        state = "" if zone["enabled"] else " (disabled)"
        click.echo(
            f"{zone['id']}  {zone['kind']:8} {figures['count']:3} moving {figures['static_count']:3} standing  "
            f"{zone['name']}{state}"
        )


def show(answer: Any) -> None:
    click.echo(json.dumps(answer, indent=2))
