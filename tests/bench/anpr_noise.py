"""Plates out of noisy reads: our voting, the majority of exact strings, and the best single read, on the same visits.

    python -m tests.bench.anpr_noise [--visits 5000] [--openings 100000] [--json FILE]

The error model. A plate of the shape LLNNLLL is read a number of times. In each read each character is

- wrong with probability e: with `confusable` as share, drawn from the shipped confusion weights, else any other;
- lost with probability e / 10, and followed by an extra character with probability e / 20.

A right character has confidence Beta(30, 1.5) (mean 0.95), a wrong one Beta(4, 3) (mean 0.57), but 15 % of the wrong
ones the confidence of a right one: readers are sometimes sure of what is not there. The read's confidence is the mean.
`habit`: in three visits of ten the reader has one character that it misreads the same way in half of the reads, so its
errors are not independent. `overall`: the reader tells only the read's confidence, not that of each character.

Openings. 500 plates are listed. Of the visits 40 % are of listed plates, 40 % of random others, and 20 % of plates that
differ from a listed one by a single confusable character and are not listed. A wrong open is one for a vehicle that is
not listed. The majority opens on three equal reads of a listed plate, the best single read on being a listed plate.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from heldard_anpr.engine.model import CameraState, Decided, Rules, Seen, Sighting
from heldard_anpr.engine.visits import advance, observe
from heldard_anpr.gate.rule import Facts, Policy, may_open
from heldard_anpr.plates.confusion import shipped
from heldard_anpr.plates.matching import compare, keys
from heldard_anpr.registry.resolve import Findings, Near, Question, Reach, resolve
from heldard_anpr.settings import Settings

OUT = Path(".bench") / "anpr_noise.json"
LETTERS, DIGITS = string.ascii_uppercase, string.digits
EVERY = LETTERS + DIGITS
SHAPE = "LLNNLLL"
LISTED = 500
REACH = Reach()
OPEN = Facts(Policy(True, 1, 1000), kill_switch=False, actuator=True, asked=False, lately=0)


@dataclass(frozen=True)
class Noise:
    """One row of the table."""

    name: str
    error: float
    reads: int | None = 5
    confusable: float = 0.7
    habit: bool = False
    overall: bool = False
    regions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    text: str
    confidence: float
    chars: tuple[float, ...]


@dataclass
class Score:
    """Counts of one method."""

    exact: int = 0
    decided: int = 0
    decided_wrong: int = 0
    visits: int = 0
    opened: int = 0
    wrong_opens: int = 0
    refused: int = 0
    listed: int = 0

    def row(self) -> dict[str, float]:
        return {
            "exact_share": round(self.exact / max(1, self.visits), 4),
            "decided_share": round(self.decided / max(1, self.visits), 4),
            "wrong_among_decided": round(self.decided_wrong / max(1, self.decided), 5),
            "wrong_opens": self.wrong_opens,
            "refused_share_of_listed": round(self.refused / max(1, self.listed), 4),
        }


@dataclass
class Lists:
    """The listed plates, and how near ones are found."""

    plates: set[str] = field(default_factory=set)
    index: dict[str, set[str]] = field(default_factory=dict)

    def add(self, plate: str) -> None:
        self.plates.add(plate)
        for key in keys(plate):
            self.index.setdefault(key, set()).add(plate)

    def findings(self, plate: str, rules: Rules) -> Findings:
        near: list[Near] = []
        for listed in sorted({found for key in keys(plate) for found in self.index.get(key, ())} - {plate}):
            match = compare(plate, listed, rules.ballot.confusions, rules.ballot.formats)
            if match.distance <= REACH.notice_distance:
                near.append(Near("vehicles", listed, listed, "vehicle", match))
        row = None
        if plate in self.plates:
            row = {
                "id": plate, "plate_norm": plate, "owner_name": None, "group_name": None, "max_stay_s": None,
                "valid_from": None, "valid_until": None, "schedule": None, "color": None, "vehicle_type": None,
            }  # fmt: skip
        return Findings(vehicle=row, near=near)


def plate(dice: random.Random) -> str:
    return "".join(dice.choice(LETTERS if sign == "L" else DIGITS) for sign in SHAPE)


def wrong(true: str, noise: Noise, dice: random.Random) -> str:
    weights = shipped().weights[true]
    if dice.random() < noise.confusable:
        return dice.choices(list(weights), list(weights.values()))[0]
    return dice.choice(EVERY.replace(true, ""))


def read(true: str, noise: Noise, habit: dict[int, str], dice: random.Random) -> Reading:
    text: list[str] = []
    chars: list[float] = []

    def put(character: str, right: bool) -> None:
        believed = right or dice.random() < 0.15
        text.append(character)
        chars.append(min(0.999, dice.betavariate(30, 1.5) if believed else dice.betavariate(4, 3)))

    for place, character in enumerate(true):
        if dice.random() < noise.error / 10:
            continue
        if place in habit and dice.random() < 0.5:
            put(habit[place], right=False)
        elif dice.random() < noise.error:
            put(wrong(character, noise, dice), right=False)
        else:
            put(character, right=True)
        if dice.random() < noise.error / 20:
            put(dice.choice(EVERY), right=False)
    confidence = sum(chars) / max(1, len(chars))
    return Reading("".join(text), confidence, () if noise.overall else tuple(chars))


def visit(true: str, noise: Noise, dice: random.Random) -> list[Reading]:
    habit: dict[int, str] = {}
    if noise.habit and dice.random() < 0.3:
        place = dice.randrange(len(true))
        habit[place] = wrong(true[place], noise, dice)
    count = noise.reads if noise.reads is not None else dice.choice((1, 2, 3, 4, 5, 6, 8, 12))
    return [reading for _ in range(count) if (reading := read(true, noise, habit, dice)).text]


# --- the three methods -----------------------------------------------------------------------------------------------


def by_voting(readings: list[Reading], rules: Rules) -> list[Decided]:
    """Every decision of the visit, the last one last."""
    state = CameraState()
    decided: list[Decided] = []
    for number, reading in enumerate(readings):
        sighting = Sighting(0, "1", reading.text, reading.text, reading.confidence, reading.chars)
        seen = Seen(number + 1, number * 200, "gate", (sighting,), captured_ms=number * 200)
        state, made = observe(state, seen, rules)
        decided += [outcome for outcome in made if isinstance(outcome, Decided)]
    _, made = advance(state, 10**9, rules)
    return decided + [outcome for outcome in made if isinstance(outcome, Decided)]


def by_majority(readings: list[Reading], rules: Rules) -> tuple[str, int]:
    """The plate with most equal reads (plausible ones first, then confidence) and how many there are."""
    votes = Counter(reading.text for reading in readings)
    confidence: Counter[str] = Counter()
    for reading in readings:
        confidence[reading.text] += reading.confidence  # type: ignore[assignment]
    formats = rules.ballot.formats
    best = max(votes, key=lambda text: (formats.plausible(text), votes[text], confidence[text], text))
    return best, votes[best]


def by_best_read(readings: list[Reading]) -> str:
    return max(readings, key=lambda reading: reading.confidence).text


def opens(decided: list[Decided], lists: Lists, rules: Rules) -> str | None:
    """The plate the gate opened for at any of the decisions, as the recorder and the gate decide it."""
    for made in decided:
        consensus = made.consensus
        question = Question(consensus.plate, consensus.plausible, made.at_ms)
        resolution = resolve(question, lists.findings(consensus.plate, rules), REACH)
        if may_open(resolution, made.rule, made.strict, "unknown", OPEN) == "open":
            return consensus.plate
    return None


# --- runs ------------------------------------------------------------------------------------------------------------


def accuracy(noise: Noise, visits: int, seed: int) -> dict[str, Score]:
    dice = random.Random(seed)
    rules = Settings(regions=list(noise.regions)).rules(shipped())
    scores = {"voting": Score(), "majority": Score(), "best_read": Score()}
    for _ in range(visits):
        true = plate(dice)
        readings = visit(true, noise, dice)
        if not readings:
            continue
        made = by_voting(readings, rules)
        said = made[-1].consensus.plate if made else ""
        _count(scores["voting"], true, said, bool(made) and made[-1].rule != "visit_end")
        text, votes = by_majority(readings, rules)
        _count(scores["majority"], true, text, votes >= 3)
        _count(scores["best_read"], true, by_best_read(readings), True)
    return scores


def _count(score: Score, true: str, said: str, decided: bool) -> None:
    score.visits += 1
    score.exact += said == true
    score.decided += decided
    score.decided_wrong += decided and said != true


def openings(noise: Noise, visits: int, seed: int) -> dict[str, Score]:
    dice = random.Random(seed)
    rules = Settings(regions=list(noise.regions)).rules(shipped())
    lists = Lists()
    while len(lists.plates) < LISTED:
        lists.add(plate(dice))
    listed = sorted(lists.plates)
    scores = {"voting": Score(), "majority": Score(), "best_read": Score()}
    for _ in range(visits):
        true = _vehicle(listed, lists, dice)
        readings = visit(true, noise, dice)
        if not readings:
            continue
        text, votes = by_majority(readings, rules)
        best = by_best_read(readings)
        opened = {
            "voting": opens(by_voting(readings, rules), lists, rules),
            "majority": text if votes >= 3 and text in lists.plates else None,
            "best_read": best if best in lists.plates else None,
        }
        for name, score in scores.items():
            score.visits += 1
            score.listed += true in lists.plates
            score.opened += opened[name] is not None
            score.wrong_opens += opened[name] is not None and true not in lists.plates
            score.refused += opened[name] is None and true in lists.plates
    return scores


def _vehicle(listed: list[str], lists: Lists, dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.4:
        return dice.choice(listed)
    while True:
        found = plate(dice) if kind < 0.8 else _twin(dice.choice(listed), dice)
        if found not in lists.plates:
            return found


def _twin(listed: str, dice: random.Random) -> str:
    """A plate of the same shape that differs by one character which readers confuse."""
    while True:
        place = dice.randrange(len(listed))
        same_kind = LETTERS if listed[place] in LETTERS else DIGITS
        rivals = [other for other in same_kind if other != listed[place] and shipped().confusable(listed[place], other)]
        if rivals:
            return listed[:place] + dice.choice(rivals) + listed[place + 1 :]


ROWS = (
    Noise("2 % wrong", 0.02),
    Noise("5 % wrong", 0.05),
    Noise("10 % wrong", 0.10),
    Noise("20 % wrong", 0.20),
    Noise("10 %, errors of any kind", 0.10, confusable=0.0),
    Noise("10 %, habits", 0.10, habit=True),
    Noise("10 %, overall confidence only", 0.10, overall=True),
    Noise("10 %, 1 to 12 reads", 0.10, reads=None),
    Noise("10 %, shape known (GB)", 0.10, regions=("GB",)),
    Noise("20 %, shape known (GB)", 0.20, regions=("GB",)),
)
OPENING_ROWS = (
    Noise("10 % wrong", 0.10),
    Noise("10 %, habits, 1 to 12 reads", 0.10, reads=None, habit=True),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Plates out of noisy reads")
    parser.add_argument("--visits", type=int, default=1000)
    parser.add_argument("--openings", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    report: dict[str, Any] = {"visits": given.visits, "openings": given.openings, "seed": given.seed, "rows": []}
    print(f"exact plates, {given.visits} visits a row (5 reads unless said)")
    print(f"{'noise':<32} {'voting':>8} {'majority':>9} {'best read':>10}   decided, and wrong among them")
    for noise in ROWS:
        scores = accuracy(noise, given.visits, given.seed)
        rows = {name: score.row() for name, score in scores.items()}
        report["rows"].append({"noise": asdict(noise), "accuracy": rows})
        v, m, b = rows["voting"], rows["majority"], rows["best_read"]
        print(f"{noise.name:<32} {v['exact_share']:>8.1%} {m['exact_share']:>9.1%} {b['exact_share']:>10.1%}"
              f"   voting {v['decided_share']:.1%}/{v['wrong_among_decided']:.2%},"
              f" majority {m['decided_share']:.1%}/{m['wrong_among_decided']:.2%}")  # fmt: skip
    print(f"\nopenings, {given.openings} visits a row: wrong opens, and listed vehicles that stayed outside")
    for noise in OPENING_ROWS:
        scores = openings(noise, given.openings, given.seed)
        rows = {name: score.row() for name, score in scores.items()}
        report["rows"].append({"noise": asdict(noise), "openings": rows})
        print(f"{noise.name:<32} " + ", ".join(
            f"{name} {row['wrong_opens']} wrong, {row['refused_share_of_listed']:.1%} refused"
            for name, row in rows.items()))  # fmt: skip
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
