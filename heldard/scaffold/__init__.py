"""`heldard plugin new`: writes a complete distribution of a plugin that works and passes its own tests.

The templates say `@name@` for the plugin's name, `@dist@` for its distribution, `@package@` for its package, `@Class@`
for the stem of its classes, and `@kernel@` for the kernel's version it was made with.
"""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path

from heldard import __version__
from heldard.errors import ConflictError, InvalidError

_NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")

FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "CHANGELOG.md": "CHANGELOG.md.txt",
    ".gitignore": "gitignore.txt",
    ".ci/run": "ci_run.txt",
    "@package@/__init__.py": "init.py.txt",
    "@package@/py.typed": "empty.txt",
    "@package@/plugin.py": "plugin.py.txt",
    "@package@/settings.py": "settings.py.txt",
    "@package@/counting.py": "counting.py.txt",
    "@package@/consumer.py": "consumer.py.txt",
    "@package@/routes.py": "routes.py.txt",
    "@package@/migrations/__init__.py": "empty.txt",
    "@package@/migrations/0001_start.sql": "0001_start.sql.txt",
    "tests/test_counting.py": "test_counting.py.txt",
    "tests/test_plugin.py": "test_plugin.py.txt",
    "tests/test_conformance.py": "test_conformance.py.txt",
}


def new(name: str, folder: Path) -> list[Path]:
    """Write the distribution of a plugin called `name` into `folder`, which must not exist or be empty; its files.

    Raises InvalidError for a name that cannot be one, ConflictError when something is there already.
    """
    if _NAME.fullmatch(name) is None or keyword.iskeyword(name) or name == "heldard":
        raise InvalidError(
            f"{name!r} cannot be a plugin's name: 2 to 31 of a-z, 0-9 and _, a letter first, as in people_counter"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is not empty: name another folder with --dir")
    words = {
        "@name@": name,
        "@dist@": f"heldard-{name.replace('_', '-')}",
        "@package@": f"heldard_{name}",
        "@Class@": "".join(part.capitalize() for part in name.split("_")),
        "@kernel@": __version__,
    }
    written: list[Path] = []
    for place, template in FILES.items():
        path = folder / _fill(place, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = resources.files("heldard.scaffold").joinpath("templates", template).read_text("utf-8")
        path.write_text(_fill(text, words), "utf-8")
        if place == ".ci/run":
            path.chmod(0o755)
        written.append(path)
    return written


def _fill(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
