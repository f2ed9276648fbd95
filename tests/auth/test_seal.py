"""The secret key is made once, whole, and for its owner only."""

from __future__ import annotations

import base64
import stat
import threading
from pathlib import Path

import pytest

from heldard.auth.seal import KEY_BYTES, load_key
from heldard.errors import ConfigError


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = load_key(tmp_path, {})
    assert len(key) == KEY_BYTES
    assert load_key(tmp_path, {}) == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_who_make_it_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(load_key(tmp_path, {}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_a_key_that_cannot_be_read_is_an_error_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret-key").write_text("x")

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_key(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_the_service_managers_key_wins(tmp_path: Path) -> None:
    own = load_key(tmp_path, {})
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    assert load_key(tmp_path, {"CREDENTIALS_DIRECTORY": str(credentials)}) == own
    (credentials / "secret-key").write_bytes(base64.b64encode(bytes(32)))
    assert load_key(tmp_path, {"CREDENTIALS_DIRECTORY": str(credentials)}) == bytes(32)
