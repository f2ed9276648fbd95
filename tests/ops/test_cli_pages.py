"""The page of the command line is what the commands say, and every command says what it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from heldard import cli_pages
from heldard.cli import main

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if not command.hidden:
            yield f"{path} {name}", command
            if isinstance(command, click.Group):
                yield from _commands(command, f"{path} {name}")


def test_the_committed_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == cli_pages.reference(main), "run: heldard pages commands > docs/reference/cli.md"


def test_every_command_and_option_says_what_it_is_for() -> None:
    page = PAGE.read_text()
    for path, command in _commands(main, "heldard"):
        assert f"## {path}\n" in page
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{path} {parameter.name}"
