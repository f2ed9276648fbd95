"""The committed description of the API and of its errors is what the code says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from heldard import api_pages
from heldard.api import openapi
from heldard.app import kernel_routes
from heldard.cli import main

ROOT = Path(__file__).parents[2]
SOURCES = {
    "heldard": ROOT / "heldard",
    "anpr": ROOT / "plugins/heldard-anpr/heldard_anpr",
    "zones": ROOT / "plugins/heldard-zones/heldard_zones",
}


def test_the_committed_document_is_what_the_routes_say() -> None:
    said = api_pages.as_json(openapi.document(kernel_routes()))
    assert (ROOT / "docs/reference/openapi.json").read_text() == said, (
        "run: heldard openapi > docs/reference/openapi.json"
    )


def test_the_committed_catalogue_is_what_the_code_raises() -> None:
    assert (ROOT / "docs/reference/errors.md").read_text() == api_pages.errors(SOURCES), (
        "run: heldard errors --plugins > docs/reference/errors.md"
    )


@pytest.mark.parametrize("title", SOURCES)
def test_every_code_in_the_source_is_in_the_catalogue_once(title: str) -> None:
    """Found another way than the page finds them: any `code="..."` and any `default_code = "..."`."""
    codes: set[str] = set()
    for path in SOURCES[title].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                codes.add(str(node.value.value))
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if (
                    isinstance(target, ast.Name)
                    and target.id == "default_code"
                    and isinstance(node.value, ast.Constant)
                ):
                    codes.add(str(node.value.value))
    listed = [found.code for found in api_pages.catalogue(SOURCES[title])]
    assert len(listed) == len(set(listed))
    unused = {"unauthenticated", "unsupported_media_type", "not_found", "conflict"}  # defaults of classes
    assert codes - set(listed) <= unused
    assert len(codes) > (50 if title == "heldard" else 5)


@pytest.mark.parametrize("title", SOURCES)
def test_every_code_that_is_given_can_be_read_from_the_source(title: str) -> None:
    """A code put together at run time would be in no catalogue."""
    for path in SOURCES[title].rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        found = {code for code, _, _ in api_pages.raised(tree, api_pages._kinds([tree]))}
        assert not any(api_pages.UNKNOWN in code for code in found), path


PLUGIN = '''
from heldard.plugin import ConflictError
import heldard.errors as trouble

class LateError(ConflictError):
    """It came too late."""
    default_code = "late"

class VeryLateError(LateError):
    status = 410

class QuietError(trouble.NotFoundError): ...

def act(n, deep):
    raise VeryLateError(f"{n} days | too late")
    raise QuietError("nobody is there")
    raise trouble.InvalidError("wrong", code="deep" if deep else "shallow")
    raise LateError("by a day", code="day")
'''


def test_a_plugins_own_error_classes_are_found(tmp_path: Path) -> None:
    source = tmp_path / "plugin.py"
    source.write_text(PLUGIN)
    found = {found.code: (found.statuses, found.says) for found in api_pages.catalogue(source)}
    assert found == {
        "late": ((409, 410), ("It came too late.", "… days | too late")),
        "day": ((409,), ("by a day",)),
        "deep": ((400,), ("wrong",)),
        "shallow": ((400,), ("wrong",)),
        "not_found": ((404,), ("nobody is there",)),
    }
    assert r"… days \| too late" in api_pages.errors({"mine": source})


async def test_the_daemon_serves_the_document_with_its_plugins(heldard_kernel: Any) -> None:
    async with heldard_kernel("zones") as kernel:
        served = await kernel.get("/api/v1/openapi.json")
    assert served["openapi"] == "3.1.0"
    assert "/api/v1/cameras/{camera_id}/zones" in served["paths"]
    assert served["x-errors"]["zones"]["zone_name_taken"]["statuses"] == [409]
    assert "camera_exists" in served["x-errors"]["heldard"]
    operations = [operation for path in served["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation["summary"] for operation in operations)


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(main, ["openapi"])
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "docs/reference/openapi.json").read_text()
