"""The options of every command that reads the configuration, and what they mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from heldard.config import Settings


def config_options(command: Any) -> Any:
    """The options of every command that reads the configuration."""
    options = (
        click.option("--config", "config_file", type=click.Path(dir_okay=False, path_type=Path), help="TOML file."),
        click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Overrides store.data_dir."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_config(config_file: Path | None, data_dir: Path | None, **overrides: Any) -> Settings:
    """Settings from the file, the environment and the command line."""
    from heldard import config

    tree: dict[str, Any] = {section: values for section, values in overrides.items() if values}
    if data_dir is not None:
        tree["store"] = {"data_dir": str(data_dir)}
    return config.load(config_file, os.environ, tree)
