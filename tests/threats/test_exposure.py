"""Nobody serves the network by accident, and the page of threats points at tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heldard.config import settle
from heldard.errors import ConfigError
from heldard.serve import check_exposure

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "box.example", ""])
def test_other_machines_are_not_served_without_auth(host: str) -> None:
    with pytest.raises(ConfigError, match="auth is off"):
        check_exposure(settle({"server": {"host": host}}))
    check_exposure(settle({"server": {"host": host}, "auth": {"enabled": True}}))
    check_exposure(settle({"server": {"host": host}, "auth": {"allow_insecure": True}}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_loopback_is_served_without(host: str) -> None:
    check_exposure(settle({"server": {"host": host}}))


def test_every_test_that_the_threat_model_names_exists() -> None:
    text = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert len(named) > 20
    for name in named:
        path, _, test = name.partition("::")
        assert (ROOT / path).exists(), name
        if test:
            assert f"def {test}(" in (ROOT / path).read_text("utf-8"), name
