"""The sample file, the reference page and the schema are what the settings structs say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from heldard import config_pages
from heldard.cli import main
from heldard.config import Settings, settle
from heldard.config_pages import kernel_sections, mask, plugin_sections, settings_of, toml

ROOT = Path(__file__).parents[2]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """An example plugin."""

    region: Annotated[str, msgspec.Meta(description="Where.")] = "no"
    keys: Annotated[dict[str, int], msgspec.Meta(description="Some.")] = {}
    level: Annotated[int | None, msgspec.Meta(description="How much.")] = None


def test_the_committed_sample_is_what_the_structs_say() -> None:
    assert (ROOT / "config/heldard.toml").read_text() == config_pages.sample(kernel_sections()), (
        "run: heldard config sample --kernel-only > config/heldard.toml"
    )


def test_the_committed_reference_is_what_the_structs_say() -> None:
    assert (ROOT / "docs/reference/settings.md").read_text() == config_pages.reference(kernel_sections()), (
        "run: heldard pages settings > docs/reference/settings.md"
    )


def test_the_sample_changes_nothing_as_it_is_and_gives_the_defaults_uncommented() -> None:
    text = config_pages.sample(kernel_sections())
    assert settle(tomllib.loads(text)) == Settings()
    uncommented = re.sub(r"^#(?=\w+ = )(?!.*# unset$)", "", text, flags=re.MULTILINE)
    assert uncommented != text
    assert settle(tomllib.loads(uncommented)) == Settings()


def test_every_setting_says_what_it_is_for() -> None:
    silent = [f"{setting.section}.{setting.name}" for section in kernel_sections() for setting in settings_of(section)
              if len(setting.description) < 10]  # fmt: skip
    assert silent == []


def test_plugins_bring_sections_of_their_own() -> None:
    text = config_pages.sample(plugin_sections({"example": Example}))
    assert '[plugins.example]\n# An example plugin.\n\n# Where.\n#region = "no"' in text
    schema = config_pages.schema({"example": Example})
    assert schema["$defs"]["PluginSettings"]["properties"]["example"] == {"$ref": "#/$defs/Example"}
    assert "sections" not in schema["$defs"]["PluginSettings"]["properties"]


def test_the_schema_knows_bounds_and_refuses_unknown_settings() -> None:
    definitions = config_pages.schema({})["$defs"]
    assert definitions["ServerSettings"]["properties"]["port"]["maximum"] == 65535
    assert definitions["ServerSettings"]["additionalProperties"] is False


_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(_VALUES)
def test_toml_reads_back_what_was_written(value: Any) -> None:
    assert tomllib.loads(f"value = {toml(value)}")["value"] == value


@pytest.mark.parametrize("name", ["password", "webhook_secret", "bot_token", "api_key"])
def test_secrets_are_masked(name: str) -> None:
    assert mask(name, "hunter2") == "***"
    assert mask(name, "") == ""
    assert mask(f"{name}_file", "/run/x") == "/run/x"


def test_config_show_gives_value_and_source(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("[server]\nport = 81\n")
    result = CliRunner(env={"HELDARD_LOGS__LEVEL": "debug"}).invoke(main, ["config", "show", "--config", str(file)])
    assert result.exit_code == 0
    assert "server.port = 81  # file" in result.output
    assert 'logs.level = "debug"  # env' in result.output
    assert 'server.host = "127.0.0.1"  # default' in result.output


def test_config_check_refuses_what_the_daemon_would_refuse(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    for text, message in (
        ("[server]\nprot = 1\n", "did you mean server.port"),
        ("[server]\nhost = '0.0.0.0'\n", "auth is off"),
    ):
        file.write_text(text)
        result = CliRunner().invoke(main, ["config", "check", "--config", str(file)])
        assert result.exit_code == 2
        assert message in result.output
    file.write_text("")
    assert CliRunner().invoke(main, ["config", "check", "--config", str(file)]).exit_code == 0
