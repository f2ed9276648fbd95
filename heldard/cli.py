"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import asyncio
import functools
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heldard import __version__, operate, plugin_cli
from heldard.auth.cli import api_keys, users
from heldard.cli_options import config_options, read_config
from heldard.demo.cli import demo
from heldard.errors import ConfigError, HeldardError
from heldard.worker.cli import worker

if TYPE_CHECKING:
    from heldard.config import Settings


class Commands(click.Group):
    """Shows errors that have an answer as one line, with status 2.

    Plugins are loaded only for a name that is not one of ours: `--help` takes theirs from what is installed.
    """

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(context, formatter)
        plugins = sorted({point.name for point in entry_points(group="heldard")})
        if plugins:
            with formatter.section("Installed plugins, whose commands usually have their names"):
                formatter.write_dl([(name, f"See heldard {name} --help.") for name in plugins])

    def get_command(self, context: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(context, cmd_name) or _plugin_commands().get(cmd_name)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except HeldardError as error:
            click.echo(f"heldard: {error.message}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)


@functools.cache
def _plugin_commands() -> dict[str, click.Command]:
    from heldard.plugins import commands, discover

    return commands(discover(()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="heldard")
def main() -> None:
    """A perception kernel for boxes with cameras."""


for _command in (*operate.COMMANDS, *plugin_cli.COMMANDS):
    main.add_command(_command)


@main.command()
@config_options
@click.option("--host", help="Overrides server.host.")
@click.option("--port", type=int, help="Overrides server.port; 0 takes a free one.")
def serve(config_file: Path | None, data_dir: Path | None, host: str | None, port: int | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from heldard import logs, startup

    with startup.importing():
        from heldard.serve import serve as run

    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}

    def read() -> Settings:
        return read_config(config_file, data_dir, server=given)

    settings = read()
    logs.configure(settings.logs)
    asyncio.run(run(settings, read))


@main.group()
def consumers() -> None:
    """Look at consumers and try what they failed again, on a running daemon."""


@consumers.command("list")
@click.option("--api", default="http://127.0.0.1:8000", show_default=True, help="The daemon's address.")
@click.option("--api-key", envvar="HELDARD_API_KEY", help="Credential, where auth is on.")
def list_consumers(api: str, api_key: str | None) -> None:
    """Every consumer: state, lag, failures, last error."""
    from heldard.client import call

    for row in call("GET", f"{api}/api/v1/consumers", api_key):
        click.echo(
            f"{row['name']:<20} {row['state']:<12} lag {row['lag']:<8} parked {row['parked']:<6} "
            f"failed {row['failed']:<6} {row['last_error'] or ''}".rstrip()
        )


@consumers.command()
@click.argument("name")
@click.option("--api", default="http://127.0.0.1:8000", show_default=True, help="The daemon's address.")
@click.option("--api-key", envvar="HELDARD_API_KEY", help="Credential, where auth is on.")
def redrive(name: str, api: str, api_key: str | None) -> None:
    """Try the batches that consumer NAME failed again."""
    from heldard.client import call

    answer = call("POST", f"{api}/api/v1/consumers/{name}/redrive", api_key)
    click.echo(f"{len(answer['done'])} done, {len(answer['failed'])} failed again")
    for seq, error in answer["failed"].items():
        click.echo(f"  {seq}: {error}")


@consumers.command()
@click.argument("name")
@click.option("--api", default="http://127.0.0.1:8000", show_default=True, help="The daemon's address.")
@click.option("--api-key", envvar="HELDARD_API_KEY", help="Credential, where auth is on.")
def resume(name: str, api: str, api_key: str | None) -> None:
    """Let the quarantined consumer NAME run again."""
    from heldard.client import call

    answer = call("POST", f"{api}/api/v1/consumers/{name}/resume", api_key)
    click.echo(f"{name} is {answer['state']}, lag {answer['lag']}")


@main.command("openapi")
@config_options
@click.option("--plugins", "with_plugins", is_flag=True, help="With the routes of the installed plugins.")
def openapi_document(config_file: Path | None, data_dir: Path | None, with_plugins: bool) -> None:
    """The API described in OpenAPI 3.1, as the daemon serves it at /api/v1/openapi.json."""
    from heldard import api_pages

    settings = read_config(config_file, data_dir)
    click.echo(api_pages.as_json(asyncio.run(_openapi(settings, with_plugins=with_plugins))), nl=False)


async def _openapi(settings: Settings, *, with_plugins: bool) -> dict[str, Any]:
    """Build a daemon on an empty folder and ask it; nothing is started."""
    import msgspec

    from heldard import keys
    from heldard.api import openapi
    from heldard.app import ROUTES, build
    from heldard.plugins import sources

    with tempfile.TemporaryDirectory(prefix="heldard-openapi-") as folder:
        store = msgspec.structs.replace(settings.store, data_dir=folder)
        app = await build(msgspec.structs.replace(settings, store=store), found=None if with_plugins else ())
        await app[keys.DB].close()
    routes = app[ROUTES]
    return openapi.document(routes, sources=sources(app[keys.PLUGINS].all))


@main.command("errors")
@click.option("--plugins", "with_plugins", is_flag=True, help="With those of the installed plugins.")
def error_catalogue(with_plugins: bool) -> None:
    """The catalogue of error codes, as the reference has it."""
    from heldard import api_pages
    from heldard.plugins import discover, sources

    found = sources(discover(())) if with_plugins else {}
    click.echo(api_pages.errors({"heldard": api_pages.KERNEL, **found}), nl=False)


main.add_command(worker)
main.add_command(users)
main.add_command(api_keys)
main.add_command(demo)


@main.command()
@config_options
@click.option("--events", is_flag=True, help="Print every replayed event.")
def replay(config_file: Path | None, data_dir: Path | None, events: bool) -> None:
    """Drive all plugins over the stored log again, on a copy, and compare with what was live.

    Nothing is changed and nothing is done in the world. Ends with status 1 when the two differ.
    """
    from heldard import logs
    from heldard import replay as replays

    settings = read_config(config_file, data_dir)
    logs.configure(settings.logs)
    found = asyncio.run(replays.replay(settings, lambda line: click.echo(line, err=True)))
    for fact in found.replayed if events else ():
        click.echo(replays.describe(fact))
    for sign, facts in (("-", found.only_live), ("+", found.only_replayed)):
        for fact in facts:
            click.echo(f"{sign} {replays.describe(fact)}")
    click.echo(f"{found.batches} batches, {len(found.replayed)} events; {'as live' if found.same else 'NOT as live'}")
    sys.exit(0 if found.same else 1)
