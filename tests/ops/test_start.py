"""What the daemon says when the data it is given cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from heldard.config import settle
from heldard.errors import ConfigError
from heldard.serve import serve


def _garbage(database: Path) -> None:
    database.write_bytes(b"this was a database once" * 100)


def _folder(database: Path) -> None:
    database.mkdir()


@pytest.mark.parametrize("spoil", [_garbage, _folder])
async def test_a_database_that_is_none_ends_the_start_with_a_sentence_not_a_traceback(
    tmp_path: Path, spoil: object
) -> None:
    assert callable(spoil)
    spoil(tmp_path / "heldard.db")
    with pytest.raises(ConfigError, match="heldard restore") as refused:
        await serve(settle({"store": {"data_dir": str(tmp_path)}, "server": {"port": 0}}))
    assert refused.value.code == "data_unusable"
    assert str(tmp_path) in refused.value.message
