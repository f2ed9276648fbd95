"""A systemd in namespaces of its own, and commands run inside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NAMESPACES = ["--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
TOOLS = ("unshare", "nsenter", "curl", "ip")


def possible(*tools: str) -> bool:
    """Whether this machine lets us, and has what it takes."""
    if os.geteuid() != 0 or not all(shutil.which(name) for name in (*TOOLS, *tools)):
        return False
    return subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


class Namespaced:
    """What a script runs as process 1 of namespaces that `enter` made. console: the file its output goes to."""

    def __init__(self, console: Path, *command: str) -> None:
        with console.open("wb") as out:
            self.process = subprocess.Popen(["bash", *command], stdout=out, stderr=out)
        self.init = ""

    def comes_up(self, is_up: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it does within the time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process.poll() is None:
            found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if found:
                self.init = found[0]
                if is_up():
                    return True
            time.sleep(0.3)
        return False

    def execute(
        self, command: Sequence[str], *, given: str | None = None, timeout_s: float = 60,
        namespaces: Sequence[str] = ("-m", "-p", "-n", "-C"),
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command inside, `given` on its standard input."""
        inside = ["nsenter", "-t", self.init, *namespaces, *command]
        return subprocess.run(inside, input=given, capture_output=True, text=True, check=False, timeout=timeout_s)

    def close(self) -> None:
        self.process.kill()  # --kill-child takes systemd along, and everything below it
        self.process.wait()
        for root in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
            group = Path(root, f"heldard-test-{self.process.pid}")
            until = time.monotonic() + 5
            while group.is_dir() and time.monotonic() < until:
                subprocess.run(["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"],
                               capture_output=True, check=False)  # fmt: skip
                time.sleep(0.1)
