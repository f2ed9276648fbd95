"""`make docs`: writes every generated page anew. Tests beside what they are made from compare them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    "config/heldard.toml": ("config", "sample", "--kernel-only"),
    "docs/reference/cli.md": ("pages", "commands"),
    "docs/reference/errors.md": ("errors", "--plugins"),
    "docs/reference/hooks.md": ("pages", "hooks"),
    "docs/reference/metrics.md": ("pages", "metrics"),
    "docs/reference/openapi.json": ("openapi",),
    "docs/reference/settings.md": ("pages", "settings"),
}


def main() -> None:
    for page, command in PAGES.items():
        made = subprocess.run([sys.executable, "-m", "heldard", *command], check=True, capture_output=True).stdout
        path = ROOT / page
        if not path.exists() or path.read_bytes() != made:
            path.write_bytes(made)
            print(f"wrote {page}")


if __name__ == "__main__":
    main()
