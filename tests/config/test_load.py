"""Settings come from the file, then the environment, then the command line, and typing errors are found."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard import config
from heldard.config import Settings, check_plugin_sections, from_environment, layers, load, merged
from heldard.config_pages import source_of, values
from heldard.errors import ConfigError


def _file(folder: Path, text: str) -> Path:
    path = folder / "heldard.toml"
    path.write_text(text)
    return path


def test_defaults_need_no_file_and_no_environment() -> None:
    settings = load(None, {})
    assert settings == Settings()
    assert (settings.server.host, settings.server.port, settings.store.durability) == ("127.0.0.1", 8000, "full")


def test_the_later_source_wins_and_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    path = _file(tmp_path, '[server]\nport = 1\nsite_name = "file"\ntimezone = "Europe/Oslo"\n')
    environment = {"HELDARD_SERVER__PORT": "2", "HELDARD_SERVER__SITE_NAME": "env"}
    settings = load(path, environment, {"server": {"port": 3}})
    assert (settings.server.port, settings.server.site_name, settings.server.timezone) == (3, "env", "Europe/Oslo")


def test_every_value_shown_says_where_it_comes_from(tmp_path: Path) -> None:
    found = layers(_file(tmp_path, "[server]\nport = 1\n[logs]\nlevel = 'debug'\n"), {"HELDARD_SERVER__PORT": "2"},
                   {"store": {"data_dir": "/d"}})  # fmt: skip
    shown = {value.name: value for value in values(config.settle(merged(found)), found, {})}
    assert (shown["server.port"].value, shown["server.port"].source) == (2, "env")
    assert (shown["logs.level"].value, shown["logs.level"].source) == ("debug", "file")
    assert (shown["store.data_dir"].value, shown["store.data_dir"].source) == ("/d", "command line")
    assert shown["server.host"].source == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1\n", "server.prot: did you mean server.port?"),
        ("[sever]\nport = 1\n", "sever: did you mean server?"),
        ("[server]\nzzz = 1\n", "server.zzz; known are"),
        ("[server]\nport = 'x'\n", "server.port: Expected `int`, got `str`"),
        ("[server]\nport = 70000\n", "server.port: Expected `int` <= 65535"),
        ("server = 3\n", "server: Expected `object`, got `int`"),
        ("[store]\ndurability = 'some'\n", "store.durability: Invalid enum value 'some'"),
        ("port = \n", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_and_names_the_setting(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(_file(tmp_path, text), {})
    assert message in caught.value.message


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml"):
        load(tmp_path / "nowhere.toml", {})


def test_environment_texts_are_taken_as_they_are_and_other_kinds_are_read() -> None:
    tree = from_environment(
        {
            "HELDARD_SERVER__SITE_ID": "7",
            "HELDARD_SERVER__SITE_NAME": "true",
            "HELDARD_SERVER__TIMEZONE": "'UTC'",
            "HELDARD_SERVER__PORT": "81",
            "HELDARD_AUTH__ENABLED": "true",
            "HELDARD_PLUGINS__DISABLED": '["a", "b"]',
            "HELDARD_PLUGINS__ANPR__MIN_VOTES": "4",
            "HELDARD_API_KEY": "not a setting",
            "PATH": "/bin",
        }
    )
    assert tree == {
        "server": {"site_id": "7", "site_name": "true", "timezone": "UTC", "port": 81},
        "auth": {"enabled": True},
        "plugins": {"disabled": ["a", "b"], "anpr": {"min_votes": 4}},
    }


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(None, {"HELDARD_SERVER__SITE_ID": "", "HELDARD_SERVER__PORT": ""}) == Settings()


def test_a_variable_below_a_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="port is a setting, not a section"):
        from_environment({"HELDARD_SERVER__PORT": "1", "HELDARD_SERVER__PORT__X": "1"})


_NAMES = st.lists(st.text("ABCPORTSEV_", min_size=0, max_size=12), min_size=1, max_size=4).map("__".join)


@given(st.dictionaries(_NAMES.map("HELDARD_".__add__), st.text(max_size=20), max_size=5))
def test_any_environment_gives_settings_or_a_config_error(environment: dict[str, str]) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(load(None, environment), Settings)


def test_a_section_of_a_plugin_that_is_not_installed_names_the_nearest() -> None:
    settings = load(None, {}, {"plugins": {"zoens": {"a": 1}}})
    with pytest.raises(ConfigError, match=r"plugins.zoens.*did you mean plugins.zones"):
        check_plugin_sections(settings, ["anpr", "zones"])
    assert check_plugin_sections(load(None, {}, {"plugins": {"zones": {"a": 1}}}), ["anpr", "zones"]) == []


def test_what_an_uninstalled_plugin_left_in_the_file_stops_nothing_unless_strict() -> None:
    left = {"people_counter": {"a": 1}}
    assert check_plugin_sections(load(None, {}, {"plugins": left}), ["anpr", "zones"]) == ["people_counter"]
    with pytest.raises(ConfigError, match=r"no such plugin is installed; installed are: anpr, zones"):
        check_plugin_sections(load(None, {}, {"plugins": {**left, "strict": True}}), ["anpr", "zones"])


def test_merge_leaves_the_other_keys_of_a_table() -> None:
    tree: dict[str, Any] = {"a": {"b": 1, "c": 2}}
    config.merge(tree, {"a": {"b": 3}, "d": 4})
    assert tree == {"a": {"b": 3, "c": 2}, "d": 4}


def test_sources_of_a_plugin_setting_are_found() -> None:
    found = layers(None, {"HELDARD_PLUGINS__ANPR__REGION": "no"})
    assert source_of("plugins.anpr.region", found) == "env"
    assert source_of("plugins.anpr.other", found) == "default"
