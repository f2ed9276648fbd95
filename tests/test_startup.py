"""Imports go undisturbed, and what comes after them is as ever."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from heldard import startup


def test_garbage_is_looked_for_again_after_the_imports_even_when_one_fails() -> None:
    with startup.importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), startup.importing():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "heldard", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("heldard, version ")
