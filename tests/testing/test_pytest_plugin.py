"""The pytest plugin costs other people's test runs nothing."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys, pytest
before = set(sys.modules)
import heldard.testing.pytest_plugin
print(*sorted(name for name in set(sys.modules) - before if "." not in name or name.startswith("heldard")))
"""


def test_loading_it_imports_nothing_but_itself() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["heldard", "heldard.testing", "heldard.testing.pytest_plugin"]
