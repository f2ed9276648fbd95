"""The reference page of the command line, made from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

_HEAD = """\
# Command line

Made from the commands by `heldard pages commands`; do not edit. Plugins add commands of their own, described on their
pages; `heldard --help` names the installed ones.

Status: 0 when it worked, 1 when it did not, 2 for a mistake in the command line or the configuration."""


def reference(group: click.Group) -> str:
    """The page `docs/reference/cli.md`: a heading per command of the kernel."""
    context = click.Context(group, info_name="heldard", max_content_width=110)
    parts = [_HEAD]
    for name, command in sorted(group.commands.items()):
        parts += _pages(command, click.Context(command, info_name=name, parent=context))
    return "\n\n".join(parts) + "\n"


def _pages(command: click.Command, context: click.Context) -> Iterator[str]:
    if command.hidden:
        return
    yield f"## {context.command_path}"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _pages(inner, click.Context(inner, info_name=name, parent=context))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"    {usage}", ""]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            lines.append(f"- `{record[0]}` {record[1]}".rstrip())
    yield "\n".join(lines).rstrip()
