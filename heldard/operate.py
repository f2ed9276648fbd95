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
    """Every setting in force and where it comes from: default, file, env, credential or command line.

    The other secrets that systemd hands over follow, masked.
    """
    from heldard import config as settings_module
    from heldard import config_pages, credentials

    overrides = {} if data_dir is None else {"store": {"data_dir": str(data_dir)}}
    found = settings_module.layers(config_file, os.environ, overrides)
    settings = settings_module.settle(settings_module.merged(found))
    for value in config_pages.values(settings, found, _plugins(settings)[0]):
        text = "unset" if value.value is None else config_pages.toml(value.value)
        click.echo(f"{value.name} = {text}  # {value.source}")
    for name in credentials.given(os.environ):
        click.echo(f"{name} = {config_pages.toml(config_pages.MASK)}  # credential")


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


@click.command()
@config_options
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the backup.")
@click.option("--evidence/--no-evidence", default=True, show_default=True, help="Kept frames too.")
@click.option("--with-key", is_flag=True, help="The secret key too; whoever has it can read the camera passwords.")
def backup(config_file: Path | None, data_dir: Path | None, into: Path, evidence: bool, with_key: bool) -> None:
    """Make a verified backup, beside a running daemon or without one."""
    from heldard import backup as module
    from heldard.clock import SystemClock

    settings = read_config(config_file, data_dir)
    made = module.make(settings.data_dir, into, SystemClock(), evidence=evidence, key=with_key, tell=click.echo)
    click.echo(str(made))


@click.command()
@config_options
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Where there is a database: keep it beside the restored one.")
@click.option("--verify-only", is_flag=True, help="Only look whether the backup is whole.")
def restore(config_file: Path | None, data_dir: Path | None, folder: Path, replace: bool, verify_only: bool) -> None:
    """Put the backup in FOLDER in place, after verifying it. The daemon must be stopped."""
    from heldard import backup as module
    from heldard.clock import SystemClock

    if verify_only:
        manifest = module.verify(folder)
        click.echo(
            f"whole: made {manifest.made_at} by heldard {manifest.version}, {sum(manifest.tables.values())} rows"
        )
        return
    settings = read_config(config_file, data_dir)
    aside = module.restore(folder, settings.data_dir, SystemClock(), replace=replace, tell=click.echo)
    click.echo(f"restored into {settings.data_dir}" + (f"; the former database is {aside}" if aside else ""))


@click.command()
@config_options
@click.option("--check", "action", flag_value="check", help="Look at everything and rehearse on a copy.")
@click.option("--undo", "action", flag_value="undo", help="Put the database from before the last upgrade back.")
def upgrade(config_file: Path | None, data_dir: Path | None, action: str | None) -> None:
    """Look at an upgrade before it happens, or take it back. `serve` upgrades by itself."""
    from heldard import upgrade as module
    from heldard.lock import hold
    from heldard.plugins import discover

    settings = read_config(config_file, data_dir)
    if action == "undo":
        with hold(settings.data_dir, "upgrade --undo"):
            click.echo(f"taken back; the upgraded database is {module.undo(settings.data_dir)}")
        return
    if action != "check":
        raise click.UsageError("say --check or --undo")
    click.echo("ok    configuration: it can be used")
    good = True
    for finding in module.examine(settings, discover(settings.plugins.disabled)):
        good = good and finding.good is not False
        mark = {True: "ok   ", False: "FAIL ", None: "     "}[finding.good]
        click.echo(f"{mark} {finding.name}: {finding.text}")
    if not good:
        raise click.exceptions.Exit(1)


_MARKS = {"ok": "ok   ", "warn": "WARN ", "bad": "BAD  "}


@click.command()
@config_options
@click.option("--api", help="Ask the daemon at this address too.  [default: the configured one]")
@click.option("--api-key", envvar="HELDARD_API_KEY", help="Credential, where auth is on.")
@click.option("--offline", is_flag=True, help="Do not ask the daemon.")
def doctor(
    config_file: Path | None, data_dir: Path | None, api: str | None, api_key: str | None, offline: bool
) -> None:
    """Look at ffmpeg, clock, disk, database, plugins, cameras and consumers; say what is wrong and what to do."""
    from heldard import doctor as module
    from heldard.clock import SystemClock
    from heldard.plugins import discover

    settings = read_config(config_file, data_dir)
    findings = list(module.examine(settings, discover(settings.plugins.disabled), SystemClock()))
    if not offline:
        address = api or f"http://{settings.server.host}:{settings.server.port}"
        findings += module.examine_running(address, api_key)
    for finding in findings:
        click.echo(f"{_MARKS[finding.verdict]} {finding.about}: {finding.text}")
        if finding.advice:
            click.echo(f"      -> {finding.advice}")
    if any(finding.verdict == "bad" for finding in findings):
        raise click.exceptions.Exit(1)


@click.group(hidden=True)
def pages() -> None:
    """Generated pages of the reference."""


@pages.command("settings")
def settings_page() -> None:
    """docs/reference/settings.md"""
    from heldard import config_pages

    click.echo(config_pages.reference(config_pages.kernel_sections()), nl=False)


@pages.command("metrics")
def metrics_page() -> None:
    """docs/reference/metrics.md"""
    from heldard import metrics

    click.echo(metrics.reference(), nl=False)


@pages.command("hooks")
def hooks_page() -> None:
    """docs/reference/hooks.md"""
    from heldard import hook_pages

    click.echo(hook_pages.reference(), nl=False)


@pages.command("commands")
@click.pass_context
def commands_page(context: click.Context) -> None:
    """docs/reference/cli.md"""
    from heldard import cli_pages

    group = context.find_root().command
    assert isinstance(group, click.Group)
    click.echo(cli_pages.reference(group), nl=False)


COMMANDS = (pages, config, systemd, doctor, backup, restore, upgrade)
