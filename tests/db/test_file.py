"""A database file that is taken away under the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
