"""`heldard zones`: asks the running daemon."""

from __future__ import annotations

import json
from typing import IO, Any
from urllib.parse import urlencode

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


@zones.command()
@click.argument("zone")
@click.option("--track", help="The worker's track id; without one every track is summed up.")
@click.option("--from", "from_", help="RFC 3339; an hour ago when not given.")
@click.option("--to", help="RFC 3339; now when not given.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer.")
@_daemon
def why(
    zone: str, track: str | None, from_: str | None, to: str | None, as_json: bool, url: str, api_key: str | None
) -> None:
    """Why ZONE (an id) said something about a track, or why not."""
    given = {"track_id": track, "from": from_, "to": to}
    query = urlencode({key: value for key, value in given.items() if value is not None})
    answer = call_api("GET", f"{url}/api/v1/zones/{zone}/why?{query}", api_key)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{answer['zone_name']}: {answer['verdict']}")
    for summary in answer["tracks"]:
        stopped = ", ".join(f"{gate} {count}" for gate, count in summary["stopped_by"].items()) or "nothing"
        click.echo(
            f"  track {summary['track_id']} ({summary['label']}), {summary['looks']} looks, stopped by: {stopped}"
        )
    for look in answer["looks"]:
        gates = "  ".join(f"{gate}: {said}" for gate, said in look["gates"].items() if said != "ok")
        click.echo(
            f"  {look['at']}  {gates or 'inside'}{'  -> ' + ', '.join(look['events']) if look['events'] else ''}"
        )
    if answer["untracked"]:
        click.echo(f"  {answer['untracked']} detections had no track id or no box: no zone looks at those")


@zones.command()
@click.argument("camera")
@click.option("--zone", "zone_file", type=click.File(), help="JSON of the proposed zone; - reads it from the input.")
@click.option("--zone-id", help="Compare with this zone; alone, run it as it is.")
@click.option("--from", "from_", required=True, help="RFC 3339.")
@click.option("--to", required=True, help="RFC 3339.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer.")
@_daemon
def backtest(
    camera: str, zone_file: IO[str] | None, zone_id: str | None, from_: str, to: str, as_json: bool, url: str,
    api_key: str | None,
) -> None:  # fmt: skip
    """What a zone would have said about the stored detections of CAMERA."""
    body: dict[str, Any] = {"from": from_, "to": to, "zone_id": zone_id}
    if zone_file is not None:
        body["zone"] = json.load(zone_file)
    answer = call_api("POST", f"{url}/api/v1/cameras/{camera}/zones/backtest", api_key, body)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{answer['batches']} batches, {answer['detections']} detections")
    click.echo("  ".join(f"{kind} {count}" for kind, count in answer["counts"].items()) or "no events")
    change = answer["difference"]
    if change is not None:
        click.echo(f"against what was said: {change['same']} the same")
        for sign, events in (("+", change["added"]), ("-", change["gone"])):
            for event in events:
                click.echo(f"  {sign} {event['timestamp']}  {event['event_type']}  track {event.get('track_id')}")
        for moved in change["moved"]:
            event = moved["event"]
            click.echo(
                f"  ~ {moved['was']} -> {event['timestamp']}  {event['event_type']}  track {event.get('track_id')}"
            )


@zones.command("import")
@click.argument("camera")
@click.argument("frigate_file", type=click.File())
@click.option("--frigate-camera", help="The camera's name in that file; not needed when it has one.")
@click.option("--dry-run", is_flag=True, help="Only show what would be drawn.")
@_daemon
def import_frigate(
    camera: str, frigate_file: IO[str], frigate_camera: str | None, dry_run: bool, url: str, api_key: str | None
) -> None:
    """Draw the zones of a Frigate configuration on CAMERA."""
    body = {"config": frigate_file.read(), "camera": frigate_camera, "dry_run": dry_run}
    answer = call_api("POST", f"{url}/api/v1/cameras/{camera}/zones/import", api_key, body)
    for zone in answer["read"] if dry_run else answer["created"]:
        click.echo(f"{'would draw' if dry_run else 'drawn'}: {zone['name']} ({zone['kind']})")
    for name in answer["existing"]:
        click.echo(f"there already: {name}")
    for note in answer["notes"]:
        click.echo(f"note: {note}")
