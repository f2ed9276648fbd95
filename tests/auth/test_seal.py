"""The secret key is made once, whole, and for its owner only."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

from heldard.auth.seal import KEY_BYTES, load_key


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
