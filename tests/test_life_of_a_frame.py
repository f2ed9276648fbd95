"""The page that names ten functions names functions that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "life-of-a-frame.md"
STEPS = re.findall(r"^\| \d+ \| `([\w.]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)


def test_it_names_ten_in_order() -> None:
    assert len(STEPS) == 10


@pytest.mark.parametrize("name", STEPS)
def test_each_exists_and_is_documented(name: str) -> None:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        assert callable(found)
        assert found.__doc__
        return
    pytest.fail(f"{name} is not there")
