"""A replay of the stored log gives what was live, and says so when it does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from heldard import config
from heldard.cli import main
from heldard.errors import NotFoundError
from heldard.replay import Comparison, replay
from heldard.testing import Kernel, Scene

YARD = {"name": "yard", "polygon": [[0.4, 0], [1, 0], [1, 1], [0.4, 1]], "dwell_seconds": 2}


@pytest.fixture
async def lived(tmp_path: Path) -> Path:
    """A data directory in which somebody walked through a zone."""
    async with Kernel(tmp_path / "data", "zones") as kernel:
        await kernel.add_camera("gate")
        assert (await kernel.request("POST", "/api/v1/cameras/gate/zones", YARD)).status == 201
        scene = Scene("gate")
        scene.person("1").enter(0, (0.1, 0.9)).walk_to((0.8, 0.9), seconds=4).stand(4).walk_to(
            (0.1, 0.9), seconds=4
        ).leave()
        await kernel.play(scene, 14)
        assert {event["event_type"] for event in await kernel.events()} >= {"zone_enter", "zone_dwell", "zone_exit"}
    return tmp_path / "data"


async def replayed(data_dir: Path) -> Comparison:
    settings = config.settle({"store": {"data_dir": str(data_dir)}, "plugins": {"disabled": ["anpr"]}})
    return await replay(settings, lambda _: None)


def tree(data_dir: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in data_dir.rglob("*") if path.suffix == ".db"}


async def test_a_replay_gives_what_was_live_and_changes_nothing(lived: Path) -> None:
    before = tree(lived)
    found = await replayed(lived)
    assert found.same
    assert {kind for kind, _, _ in found.replayed} >= {"zone_enter", "zone_dwell", "zone_exit"}
    assert tree(lived) == before


async def test_an_event_that_the_log_does_not_explain_is_named(lived: Path) -> None:
    with closing(sqlite3.connect(lived / "heldard.db")) as connection:
        connection.execute("UPDATE events SET at_ms = at_ms + 1 WHERE seq = (SELECT min(seq) FROM events "
                           "JOIN names n ON n.id = event_type AND n.text = 'zone_enter')")  # fmt: skip
        connection.commit()
    found = await replayed(lived)
    assert not found.same
    assert [kind for kind, _, _ in found.only_live] == ["zone_enter"]
    assert [kind for kind, _, _ in found.only_replayed] == ["zone_enter"]


async def test_without_a_database_it_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"heldard\.db"):
        await replayed(tmp_path)


def test_the_command_ends_with_an_error_where_there_is_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["replay", "--data-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "there is no database" in done.stderr
