"""`heldard plugins` looks at what is installed and switches it on and off; `heldard plugin new` begins another one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from heldard.cli_options import config_options, read_config
from heldard.errors import NotFoundError


@click.group()
def plugins() -> None:
    """Look at installed plugins, check them, switch them on and off."""


@plugins.command("list")
@config_options
def list_plugins(config_file: Path | None, data_dir: Path | None) -> None:
    """Every plugin found, with its version, the API it works with, and its state."""
    from heldard.plugins import discover

    settings = read_config(config_file, data_dir)
    for plugin in sorted(discover(settings.plugins.disabled, data_dir=settings.data_dir), key=lambda one: one.name):
        version, api = (plugin.info.version, plugin.info.api) if plugin.info else ("-", "-")
        click.echo(f"{plugin.name:<20} {version:<10} {plugin.state:<9} {api:<12} {plugin.reason or ''}".rstrip())


@plugins.command()
@config_options
@click.argument("names", nargs=-1)
def check(config_file: Path | None, data_dir: Path | None, names: tuple[str, ...]) -> None:
    """Set plugins up in an empty, temporary daemon and say what is wrong; status 1 if anything is.

    All installed plugins, or those of the given NAMES, with their settings. The daemon's own data is not touched.
    """
    from heldard.plugin_check import check as run

    findings = asyncio.run(run(read_config(config_file, data_dir), names))
    for finding in findings:
        click.echo(f"{finding.name:<20} {finding.state:<9} {finding.text}".rstrip())
    if any(finding.state == "refused" for finding in findings):
        sys.exit(1)


@plugins.command()
@config_options
@click.argument("name")
def disable(config_file: Path | None, data_dir: Path | None, name: str) -> None:
    """Do not load plugin NAME from the next start on. Its data and its place in the log are kept."""
    _switch(read_config(config_file, data_dir), name, disabled=True)
    click.echo(f"{name} is off from the next start on")


@plugins.command()
@config_options
@click.argument("name")
def enable(config_file: Path | None, data_dir: Path | None, name: str) -> None:
    """Load plugin NAME again from the next start on; it takes up the log where it stood."""
    settings = read_config(config_file, data_dir)
    _switch(settings, name, disabled=False)
    if name in settings.plugins.disabled:
        click.echo(f"{name} stays off: take it out of the setting plugins.disabled", err=True)
        sys.exit(1)
    click.echo(f"{name} is on from the next start on")


def _switch(settings: Any, name: str, *, disabled: bool) -> None:
    from heldard.plugins import disabled_in, discover, set_disabled

    known = {plugin.name for plugin in discover(())} | set(disabled_in(settings.data_dir))
    if name not in known:
        raise NotFoundError(f"no plugin {name!r} is installed; there are: {', '.join(sorted(known)) or 'none'}")
    set_disabled(settings.data_dir, name, disabled=disabled)


@click.group()
def plugin() -> None:
    """Write plugins."""


@plugin.command()
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The new folder; heldard-NAME when not given.")
def new(name: str, folder: Path | None) -> None:
    """Begin a plugin called NAME: a distribution that works and passes its own tests."""
    from heldard import scaffold

    place = folder or Path(f"heldard-{name.replace('_', '-')}")
    for path in scaffold.new(name, place):
        click.echo(path)
    click.echo(f"next: cd {place} && pip install -e . --group test && pytest && heldard plugins check {name}")


COMMANDS = (plugins, plugin)
