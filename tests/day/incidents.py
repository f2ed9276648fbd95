"""What goes wrong in a day, and what people do meanwhile. Each names the complaints that it brings into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.day.day import Day, Incident
from tests.day.street import HOUR_MS, NARROWER

AWAY_MS = 8_000
"""How long the box is gone when it starts anew."""


async def kill(day: Day) -> None:
    """kill -9 while workers post."""
    frames = await day.daemon.advance(1.0)
    turns = [asyncio.ensure_future(worker.turn(frames)) for worker in day.workers]
    await asyncio.sleep(0.002)
    await day.daemon.kill()
    await asyncio.gather(*turns)
    await _again(day)


async def restart(day: Day) -> None:
    """SIGTERM and a start, as for an upgrade."""
    await day.daemon.stop()
    await _again(day)


async def restart_in_the_past(day: Day) -> None:
    """The mains fail, the box has no battery for its clock, and the network is late in telling the time."""
    behind_ms = 1_200_137
    day.ledger.set_back_ms += behind_ms
    await day.daemon.kill()
    await _again(day, -behind_ms)
    await day.pass_time(40)
    await day.daemon.set_wall(behind_ms)


async def _again(day: Day, shift_ms: int = 0) -> None:
    await day.viewer.hang_up()
    day.ledger.street_ms += AWAY_MS
    day.daemon.now_ms += AWAY_MS + shift_ms
    await day.daemon.start()
    day.viewer.connect()


async def camera_away(day: Day) -> None:
    await day.daemon.order("camera", host="hall.example", mode="off")
    day.named["stream_lost"] += 1


async def camera_back(day: Day) -> None:
    await day.daemon.order("camera", host="hall.example", mode="on")


async def camera_freezes(day: Day) -> None:
    await day.daemon.order("camera", host="yard.example", mode="frozen")
    day.named["stream_lost"] += 1


async def camera_thaws(day: Day) -> None:
    await day.daemon.order("camera", host="yard.example", mode="on")


async def worker_dies(day: Day) -> None:
    """Its successor starts half a minute later, under another name."""
    (worker,) = day.workers
    worker.die()
    day.remove_worker(worker)
    await day.pass_time(30)
    day.add_worker()


async def second_worker(day: Day) -> None:
    day.add_worker()


async def first_worker_leaves(day: Day) -> None:
    worker = day.workers[0]
    assert worker.runners, "it has its share"
    assert day.workers[1].runners, "the other one has its own"
    await worker.leave()
    day.remove_worker(worker)


async def disk_fills(day: Day) -> None:
    await day.daemon.order("disk", free_mb=500)
    day.named["disk_reserve_reached"] += 1
    day.possible.add("evidence_lost")


async def disk_has_room(day: Day) -> None:
    await day.daemon.order("disk", free_mb=100_000)


async def target_down(day: Day) -> None:
    day.target.down = True
    day.named["webhook_failing"] += 1


async def target_up(day: Day) -> None:
    assert day.target.refused, "it was tried meanwhile"
    day.target.down = False


async def clock_ahead(day: Day) -> None:
    """NTP catches up a little."""
    await day.daemon.set_wall(+1_700)


async def clock_back(day: Day) -> None:
    await day.daemon.set_wall(-2_300)


async def clock_far_back(day: Day) -> None:
    """As when the box's clock held local time and is told the right one. Not a round figure: the same millisecond comes
    twice, and a frame's name is its millisecond."""
    day.ledger.set_back_ms += HOUR_MS + 137
    await day.daemon.set_wall(-HOUR_MS - 137)


async def backup(day: Day) -> None:
    into = day.daemon.folder / "backups"
    told = await day.daemon.command("backup", "--config", str(day.daemon.config), "--into", str(into), "--with-key")
    folder = told.strip().splitlines()[-1]
    await day.daemon.command("restore", "--config", str(day.daemon.config), folder, "--verify-only")


async def reload(day: Day) -> None:
    """The operator raises the log level for a while."""
    day.daemon.write_settings('level = "warning"')
    day.daemon.reload()
    await day.pass_time(60)
    day.daemon.write_settings()
    day.daemon.reload()


async def admin_adds(day: Day) -> None:
    await day.add_camera("shed", "detection")


async def admin_edits(day: Day) -> None:
    """Zones are redrawn, cameras renamed, a list is tended."""
    await day.admin.ask("PATCH", f"/api/v1/zones/{day.zones['yard']}", {"polygon": NARROWER, "severity": "warning"})
    await day.admin.ask("PATCH", "/api/v1/cameras/hall", {"name": "The hall", "priority": 120})
    listed = await day.admin.ask("POST", "/api/v1/watchlist", {"plate": "ZZZ9999", "kind": "block"}, status=201)
    await day.admin.ask("DELETE", f"/api/v1/watchlist/{listed['id']}", status=204)
    await day.admin.ask("PATCH", f"/api/v1/ai-tasks/{day.tasks['gate']}", {"enabled": False})
    await day.pass_time(60)
    await day.admin.ask("PATCH", f"/api/v1/ai-tasks/{day.tasks['gate']}", {"enabled": True})


async def admin_deletes(day: Day) -> None:
    del day.tasks["shed"], day.zones["shed"]
    day.ledger.deleted.add("shed")
    await day.admin.ask("DELETE", "/api/v1/cameras/shed", status=204)


def spread(minutes: float) -> list[Incident]:
    """Most incidents of a day, over so many minutes, each when nothing else is amiss."""
    order = (
        kill, camera_away, camera_back, admin_adds, backup, restart, clock_ahead, camera_freezes, camera_thaws,
        second_worker, reload, first_worker_leaves, target_down, target_up, admin_edits, worker_dies, disk_fills,
        disk_has_room, clock_back, clock_far_back, admin_deletes,
    )  # fmt: skip
    return [(minutes * (n + 1) / (len(order) + 2), incident) for n, incident in enumerate(order)]


def of_a_day() -> list[Incident]:
    """From half past five in the afternoon to the same hour of the next day."""
    at: dict[float, Callable[[Day], Awaitable[None]]] = {
        0.5: kill,  # in the rush hour
        1.5: camera_away,
        2.0: camera_back,
        2.5: admin_adds,
        3.0: restart,  # after dark
        3.2: restart_in_the_past,
        5.0: camera_freezes,
        5.2: camera_thaws,
        9.5: backup,
        11.0: clock_ahead,
        14.5: worker_dies,  # in the morning's rush hour
        15.5: second_worker,
        16.5: reload,
        17.5: first_worker_leaves,
        18.0: target_down,
        18.5: target_up,
        19.0: admin_edits,
        20.0: disk_fills,
        20.2: disk_has_room,
        20.5: clock_far_back,
        21.5: clock_back,
        22.0: admin_deletes,
        22.5: camera_away,
        22.6: camera_back,
    }
    return [(hour * 60, incident) for hour, incident in at.items()]
