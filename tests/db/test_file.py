"""A database file that is taken away under the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from heldard.db.file import DatabaseFile
from heldard.errors import ConfigError, StoreError
from heldard.testing import detection, post


def take_away(path: Path, *, replaced: bool) -> Path:
    """Where it is then."""
    aside = path.rename(path.with_name("aside"))
    if replaced:
        path.write_bytes(aside.read_bytes())
    return aside


def put_back(aside: Path, path: Path) -> None:
    aside.replace(path)


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_acknowledged_into_a_file_that_is_gone_and_all_goes_on_when_it_is_back(
    heldard_kernel: Any, replaced: bool
) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        path: Path = kernel.data_dir / "heldard.db"
        aside = take_away(path, replaced=replaced)
        reply = await kernel.post(post("gate", detection()))
        assert (reply.status, reply.body["code"]) == (503, "store_replaced")
        assert str(path) in reply.body["error"]
        assert (await kernel.request("GET", "/readyz")).status == 503
        put_back(aside, path)
        assert (await kernel.post(post("gate", detection()))).status == 200


def test_a_start_begins_a_database_only_where_none_was(tmp_path: Path) -> None:
    path = tmp_path / "heldard.db"
    file = DatabaseFile(path)
    file.before_start()

    path.with_name("heldard.db-wal").write_bytes(b"frames")
    with pytest.raises(ConfigError, match="holds data"):
        file.before_start()
    path.touch()
    with pytest.raises(ConfigError, match="is empty") as refused:
        file.before_start()
    assert refused.value.code == "database_lost"
    path.write_bytes(b"a database")
    file.before_start()

    file.marker.write_text("emptied\n")
    with pytest.raises(ConfigError, match="was emptied while it was open"):
        file.before_start()
    file.marker.write_text("removed\n")
    file.before_start()
    assert not file.marker.exists(), "it was put back"


def test_a_loss_is_logged_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "heldard.db"
    path.write_bytes(bytes(4096))
    file = DatabaseFile(path)
    file.remember()
    with capture_logs() as lines:
        file.check()
        aside = take_away(path, replaced=False)
        for _ in range(3):
            with pytest.raises(StoreError, match="removed while it was open"):
                file.check()
        assert file.marker.read_text() == "removed\n"
        put_back(aside, path)
        file.check()
    assert [line["event"] for line in lines] == ["database_lost", "database_back"]
    assert not file.marker.exists()


def test_an_emptied_file_stays_lost_whatever_is_written_into_it(tmp_path: Path) -> None:
    path = tmp_path / "heldard.db"
    path.write_bytes(bytes(4096))
    file = DatabaseFile(path)
    file.remember()
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="emptied"):
        file.check()
    path.write_bytes(bytes(8192))
    with pytest.raises(StoreError, match="emptied"):
        file.check()
