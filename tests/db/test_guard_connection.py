"""The guard looks at a plugin's first statement while the writer is in the middle of a unit of work."""

from __future__ import annotations

from heldard.clock import SystemClock
from heldard.db.database import Database
from heldard.db.guard import SqlGuard


async def test_a_statement_is_checked_inside_the_unit_that_runs_it(tmp_path):
    db = Database(tmp_path / "heldard.db", SystemClock())
    await db.open()
    guard = SqlGuard("shop", ("shop_*",), db.connect_reader)
    try:
        await db.write(lambda connection: connection.execute("CREATE TABLE shop_things (n INTEGER)"))

        def unit(connection):
            connection.execute("INSERT INTO shop_things VALUES (1)")
            guard.check("DELETE FROM shop_things WHERE n = ? RETURNING n")
            return connection.execute("DELETE FROM shop_things WHERE n = ? RETURNING n", (1,)).fetchall()

        assert [tuple(row) for row in await db.write(unit)] == [(1,)]
    finally:
        guard.close()
        await db.close()
