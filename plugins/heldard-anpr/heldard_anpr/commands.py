"""`heldard anpr ...`: talks to the running daemon."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from heldard.plugin import HeldardError
from heldard_anpr.explain import explained

TIMEOUT_S = 30


class UnansweredError(HeldardError):
    """The daemon said no, or nothing."""

    default_code = "unanswered"


@click.group(name="anpr")
def group() -> None:
    """Plates: explain decisions, try a plate, move lists."""


def _options(command: Any) -> Any:
    command = click.option("--api-key", envvar="HELDARD_API_KEY", help="Credential, where auth is on.")(command)
    return click.option("--api", default="http://127.0.0.1:8000", show_default=True, help="The daemon's address.")(
        command
    )


@group.command()
@click.argument("what")
@_options
def explain(what: str, api: str, api_key: str | None) -> None:
    """Say how an entry event came about. WHAT: an event id, or a plate (its newest event)."""
    event_id = what
    if not what.startswith("evt_"):
        newest = json.loads(_call("GET", f"{api}/api/v1/entry-events?limit=1&plate={quote(what)}", api_key))
        if not newest:
            raise UnansweredError(f"no entry event with the plate {what!r}")
        event_id = newest[0]["id"]
    click.echo(explained(json.loads(_call("GET", f"{api}/api/v1/entry-events/{quote(event_id)}/decision", api_key))))


@group.command()
@click.argument("plate")
@_options
def match(plate: str, api: str, api_key: str | None) -> None:
    """Say what the lists make of PLATE, were it read now."""
    found = json.loads(_call("GET", f"{api}/api/v1/anpr/match?plate={quote(plate)}", api_key))
    resolution = found["resolution"]
    click.echo(f"{found['plate']}: {resolution['status']} ({resolution['rule']}) {resolution['note'] or ''}".rstrip())
    for near in found["near"]:
        click.echo(f"  near {near['plate']} ({near['kind']}, distance {near['match']['distance']})")


@group.command(name="import")
@click.argument("name", type=click.Choice(["vehicles", "passes", "watchlist"]))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@_options
def load(name: str, file: Path, dry_run: bool, api: str, api_key: str | None) -> None:
    """Take a CSV FILE into list NAME."""
    url = f"{api}/api/v1/anpr/lists/{name}?dry_run={str(dry_run).lower()}"
    report = json.loads(_call("POST", url, api_key, file.read_bytes()))
    for line in report["lines"]:
        if line["outcome"] == "refused":
            click.echo(f"line {line['line']}: {line['error']}")
    kept = "would be " if dry_run else ""
    click.echo(f"{kept}added {report['added']}, updated {report['updated']}, unchanged {report['unchanged']}, "
               f"refused {report['refused']}")  # fmt: skip


@group.command()
@click.argument("name", type=click.Choice(["vehicles", "passes", "watchlist"]))
@_options
def export(name: str, api: str, api_key: str | None) -> None:
    """Write list NAME as CSV."""
    click.echo(_call("GET", f"{api}/api/v1/anpr/lists/{name}", api_key), nl=False)


def _call(method: str, url: str, api_key: str | None, body: bytes | None = None) -> str:
    """The answer's text. Raises UnansweredError."""
    headers = {"Content-Type": "text/csv"} | ({"X-API-Key": api_key} if api_key else {})
    if not url.startswith(("http://", "https://")):
        raise UnansweredError(f"--api must begin with http:// or https://, not {url!r}")
    request = urllib.request.Request(url, data=body, method=method, headers=headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - checked above
            text: str = response.read().decode("utf-8")
            return text
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode("utf-8", "replace")
        try:
            said = json.loads(said)["error"]
        except (ValueError, KeyError, TypeError):
            said = said[:200]
        raise UnansweredError(f"HTTP {error.code}: {said}") from None
    except (urllib.error.URLError, TimeoutError) as error:
        raise UnansweredError(f"no daemon answers at {url}: {error}; is `heldard serve` running?") from None
