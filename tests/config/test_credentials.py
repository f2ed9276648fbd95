"""What the service manager hands over as files: secrets, and settings that are secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from heldard import config, credentials
from heldard.cli import main
from heldard.config_pages import values
from heldard.errors import ConfigError


@pytest.fixture
def handed(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"CREDENTIALS_DIRECTORY": str(folder), **more}


def test_a_credential_that_is_missing_or_blank_counts_as_not_given(handed: Path) -> None:
    (handed / "secret-key").write_text("\n")
    assert credentials.read("secret-key", environment(handed)) is None
    assert credentials.read("worker-api-key", environment(handed)) is None
    assert credentials.read("secret-key", {}) is None
    assert credentials.given(environment(handed / "gone")) == []


def test_a_credential_that_is_no_text_or_no_file_is_an_error(handed: Path) -> None:
    (handed / "secret-key").write_bytes(b"\xff\xfe")
    (handed / "worker-api-key").mkdir()
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        credentials.read("secret-key", environment(handed))
    with pytest.raises(ConfigError, match=r"worker-api-key cannot be read: Is a directory"):
        credentials.read("worker-api-key", environment(handed))


def test_a_setting_given_as_credential_wins_over_file_and_environment_and_is_masked(handed: Path) -> None:
    (handed / "heldard.server.site_name").write_text("the yard\n")
    (handed / "heldard.server.port").write_text("81\n")
    (handed / "heldard.plugins.gate.pin").write_text("'0007'")
    (handed / "somebody.elses").write_text("not ours")
    given = environment(handed, HELDARD_SERVER__SITE_NAME="env", HELDARD_SERVER__TIMEZONE="Europe/Oslo")
    found = config.layers(None, given)
    settings = config.settle(config.merged(found))
    assert (settings.server.site_name, settings.server.port) == ("the yard", 81)
    assert settings.plugins.sections == {"gate": {"pin": "0007"}}
    shown = {value.name: (value.value, value.source) for value in values(settings, found, {})}
    assert shown["server.site_name"] == ("***", "credential")
    assert shown["server.timezone"] == ("Europe/Oslo", "env")


def test_a_misspelt_setting_among_the_credentials_is_an_error_with_a_hint(handed: Path) -> None:
    (handed / "heldard.server.prot").write_text("81")
    with pytest.raises(ConfigError, match=r"server.prot: did you mean server.port\?"):
        config.load(None, environment(handed))


def test_config_show_names_the_secrets_that_were_handed_over_and_not_what_they_are(handed: Path) -> None:
    (handed / "bootstrap-admin-password").write_text("hunter2hunter2")
    run = CliRunner().invoke(main, ["config", "show"], env={"CREDENTIALS_DIRECTORY": str(handed)})
    assert run.exit_code == 0
    assert 'bootstrap-admin-password = "***"  # credential' in run.output
    assert "secret-key" not in run.output
    assert "hunter2" not in run.output
