"""Commands for whoever operates the box. Each imports what it needs when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heldard.cli_options import config_options, read_config

if TYPE_CHECKING:
    import msgspec

    from heldard.config import Settings


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command("check")
@config_options
def config_check(config_file: Path | None, data_dir: Path | None) -> None:
    """Read the configuration as the daemon would, plugins' sections included; status 2 when it cannot be used."""
    from heldard.serve import check_exposure

    settings = read_config(config_file, data_dir)
    check_exposure(settings)
    refused = [f"{name}: {reason}" for name, reason in _plugins(settings)[1].items()]
    for line in refused:
        click.echo(f"plugin refused: {line}", err=True)
    if refused and settings.plugins.strict:
        raise click.exceptions.Exit(2)
    click.echo("the configuration can be used")


@config.command("show")
@config_options
def config_show(config_file: Path | None, data_dir: Path | None) -> None:
    """Every setting in force and where it comes from: default, file, env or command line."""
    from heldard import config as settings_module
    from heldard import config_pages

    overrides = {} if data_dir is None else {"store": {"data_dir": str(data_dir)}}
    found = settings_module.layers(config_file, os.environ, overrides)
    settings = settings_module.settle(settings_module.merged(found))
    for value in config_pages.values(settings, found, _plugins(settings)[0]):
        text = "unset" if value.value is None else config_pages.toml(value.value)
        click.echo(f"{value.name} = {text}  # {value.source}")


@config.command("schema")
def config_schema() -> None:
    """A JSON schema of the settings file, installed plugins included."""
    import msgspec

    from heldard import config_pages

    click.echo(msgspec.json.format(msgspec.json.encode(config_pages.schema(_plugin_structs())), indent=2).decode())


@config.command("sample")
@click.option("--kernel-only", is_flag=True, help="Leave out the sections of plugins.")
def config_sample(kernel_only: bool) -> None:
    """A settings file with every setting commented out, for `heldard config sample > heldard.toml`."""
    from heldard import config_pages

    plugins = [] if kernel_only else config_pages.plugin_sections(_plugin_structs())
    click.echo(config_pages.sample(config_pages.kernel_sections() + plugins), nl=False)


@config.command("reference")
def config_reference() -> None:
    """The settings page of the reference, as Markdown."""
    from heldard import config_pages

    click.echo(config_pages.reference(config_pages.kernel_sections()), nl=False)


def _plugin_structs() -> dict[str, type[msgspec.Struct]]:
    """The settings structs of the installed plugins that can be loaded."""
    from heldard.plugins import discover

    asked = {plugin.name: plugin.ask("heldard_register_settings") for plugin in discover(()) if plugin.impls}
    return {name: kind for name, kind in asked.items() if kind is not None}


def _plugins(settings: Settings) -> tuple[dict[str, Any], dict[str, str]]:
    """Decoded settings of each active plugin, and why the others are refused. Raises ConfigError for a section that
    no installed plugin reads."""
    from heldard.config import check_plugin_sections
    from heldard.plugins import discover, read_settings

    found = discover(settings.plugins.disabled)
    check_plugin_sections(settings, [plugin.name for plugin in found])
    decoded: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for plugin in found:
        if plugin.state == "refused":
            refused[plugin.name] = plugin.reason or ""
        elif plugin.state == "active":
            decoded[plugin.name] = read_settings(plugin, settings.plugins.sections.get(plugin.name, {}))
    return decoded, refused


@click.group()
def systemd() -> None:
    """Run heldard as a service."""


@systemd.command("install")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), help="Write below this folder, not /.")
def systemd_install(root: Path) -> None:
    """Write the units, the user, a configuration and a secret key; what is there already is kept, units excepted."""
    from heldard import systemd as module

    for path in module.install(root):
        click.echo(f"wrote {path}")
    if root == Path("/"):
        module.tell_systemd()
        click.echo("now: systemctl enable --now heldard")


COMMANDS = (config, systemd)
