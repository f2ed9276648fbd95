"""Help comes without what it does not need, and Ctrl-C before everything is loaded ends quietly."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
from heldard.__main__ import main
sys.argv = ["heldard", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"aiohttp", "aiosqlite", "structlog", "msgspec", "argon2", "cryptography", "numpy", "cv2", "pluggy"}}
print("LOADED", sorted(heavy & sys.modules.keys()))
"""

INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from heldard.__main__ import main
sys.argv = ["heldard", *{arguments!r}]
main()
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["keys", "add", "--help"], ["worker", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = python(LOADED.format(arguments=arguments))
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout, done.stdout


def test_help_names_installed_plugins_whose_commands_work() -> None:
    done = subprocess.run([sys.executable, "-m", "heldard", "--help"], capture_output=True, text=True, timeout=100)
    plugins = done.stdout.partition("Installed plugins")[2]
    assert "heldard anpr --help" in plugins
    assert "heldard zones --help" in plugins
    done = subprocess.run(
        [sys.executable, "-m", "heldard", "zones", "--help"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("module", "arguments", "status"),
    [("heldard.cli", ["--help"], 130), ("click", ["--help"], 130), ("heldard.serve", ["serve"], 1)],
)
def test_ctrl_c_while_modules_are_loaded_prints_no_traceback(module: str, arguments: list[str], status: int) -> None:
    done = python(INTERRUPTED.format(module=module, arguments=arguments))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
