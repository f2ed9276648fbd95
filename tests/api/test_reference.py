"""The committed description of the API and of its errors is what the code says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from heldard import api_pages
from heldard.api import openapi
from heldard.app import kernel_routes
from heldard.cli import main

ROOT = Path(__file__).parents[2]


def test_the_committed_document_is_what_the_routes_say() -> None:
    said = api_pages.as_json(openapi.document(kernel_routes()))
    assert (ROOT / "docs/reference/openapi.json").read_text() == said, (
        "run: heldard openapi > docs/reference/openapi.json"
    )


def test_the_committed_catalogue_is_what_the_code_raises() -> None:
    assert (ROOT / "docs/reference/errors.md").read_text() == api_pages.errors(), (
        "run: heldard errors > docs/reference/errors.md"
    )


def test_every_code_in_the_source_is_in_the_catalogue_once() -> None:
    """Found another way than the page finds them: any `code="..."` and any `default_code = "..."`."""
    codes: set[str] = set()
    for path in (ROOT / "heldard").rglob("*.py"):
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
    listed = [line.split("`")[1] for line in api_pages.errors().splitlines() if line.startswith("| `")]
    assert len(listed) == len(set(listed))
    unused = {"unauthenticated", "unsupported_media_type", "not_found", "conflict"}  # defaults of classes
    assert codes - set(listed) <= unused
    assert len(codes) > 50


async def test_the_daemon_serves_the_document_with_its_plugins(heldard_kernel: Any) -> None:
    async with heldard_kernel("zones") as kernel:
        served = await kernel.get("/api/v1/openapi.json")
    assert served["openapi"] == "3.1.0"
    assert "/api/v1/cameras/{camera_id}/zones" in served["paths"]
    operations = [operation for path in served["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation["summary"] for operation in operations)


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(main, ["openapi"])
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "docs/reference/openapi.json").read_text()
