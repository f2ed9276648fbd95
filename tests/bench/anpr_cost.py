"""What plates cost: a batch in the consumer, and a decision looked up in long lists.

python -m tests.bench.anpr_cost
"""

from __future__ import annotations

import json
import random
import sqlite3
import string
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from heldard_anpr.consumer import AnprConsumer
from heldard_anpr.decisions.recorder import Recorder
from heldard_anpr.plates.confusion import shipped
from heldard_anpr.plates.matching import keys
from heldard_anpr.registry.resolve import Question, Reach, ask
from heldard_anpr.settings import Settings

from heldard.plugin import Batch, Detection, Effects

OUT = Path(".bench") / "anpr_cost.json"
MIGRATION = Path("plugins/heldard-anpr/heldard_anpr/migrations/0001_plates.sql")
START_MS = 1_700_000_000_000
BATCHES = 300
ROWS = ((10, False), (1, True), (3, True))


class ReadTx:
    """Enough of a Tx to look things up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def execute(self, sql: str, parameters: object = ()) -> list[tuple[object, ...]]:
        return self.connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def fetch(self, sql: str, parameters: object = ()) -> list[dict[str, object]]:
        cursor = self.connection.execute(sql, parameters)  # type: ignore[arg-type]
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def plate(dice: random.Random) -> str:
    return "".join(dice.choices(string.ascii_uppercase, k=3) + dice.choices(string.digits, k=4))


def batches(vehicles: int, plates: bool) -> Iterator[Batch]:
    """A camera at 5 fps whose vehicles change every 4 s."""
    dice = random.Random(1)
    names = [plate(dice) for _ in range(vehicles)]
    for number in range(BATCHES):
        if number % 20 == 0:
            names = [plate(dice) for _ in range(vehicles)]
        found = []
        for index, name in enumerate(names):
            attributes: dict[str, object] = {"vehicle_type": "car"}
            if plates:
                attributes |= {"plate": name, "plate_confidence": 0.9 + dice.random() * 0.09}
            track = f"{number // 20}-{index}"
            found.append(Detection(index, "car", 0.9, (0.1, 0.1, 0.2, 0.2), track, msgspec.json.encode(attributes)))
        at_ms = START_MS + number * 200
        yield Batch(
            number + 1, "gate", "anpr", at_ms, at_ms, tuple(found), task_id="ai_1", epoch="e", captured_ms=at_ms
        )


def batch_us(vehicles: int, plates: bool) -> float:
    """Microseconds the consumer takes for one batch."""
    settings = Settings()
    consumer = AnprConsumer(Recorder(settings, settings.rules(shipped())))
    consumer.restore("gate", {})
    played = list(batches(vehicles, plates))
    began = time.perf_counter()
    for batch in played:
        consumer.consume(batch, Effects("gate", batch.at_ms))
    return (time.perf_counter() - began) / BATCHES * 1e6


def lookup_us(listed: int) -> float:
    """Microseconds to look one plate up, near ones included."""
    dice = random.Random(2)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(MIGRATION.read_text("utf-8"))
        connection.execute("BEGIN")
        known = sorted({plate(dice) for _ in range(listed)})
        for number, name in enumerate(known):
            connection.execute(
                "INSERT INTO vehicles (id, plate, plate_norm, created_at, updated_at) VALUES (?, ?, ?, 0, 0)",
                [str(number), name, name],
            )
            connection.executemany(
                "INSERT INTO anpr_plate_keys VALUES (?, 'vehicles', ?, ?)",
                [(key, str(number), name) for key in keys(name)],
            )
        connection.execute("COMMIT")
        rules = Settings().rules(shipped())
        questions = [Question(dice.choice([dice.choice(known), plate(dice)]), True, START_MS) for _ in range(300)]
        began = time.perf_counter()
        for question in questions:
            ask(ReadTx(connection), question, rules, Reach())  # type: ignore[arg-type]
        return (time.perf_counter() - began) / len(questions) * 1e6
    finally:
        connection.close()


def main() -> None:
    report: dict[str, float] = {}
    for vehicles, plates in ROWS:
        name = f"batch of {vehicles} vehicles, {'each with a plate' if plates else 'no plate'}"
        report[name] = round(batch_us(vehicles, plates), 1)
    for listed in (100, 10_000):
        report[f"lookup in {listed} listed plates"] = round(lookup_us(listed), 1)
    for name, cost in report.items():
        print(f"{name:<44} {cost:>8.1f} us")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
