"""The page of the contract is what the code says, and everything public is on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from heldard import hook_pages, plugin

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/hooks.md"


def test_the_committed_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == hook_pages.reference(), "run: heldard pages hooks > docs/reference/hooks.md"


@pytest.mark.parametrize("name", [name for name, _ in hook_pages.hooks()])
def test_each_hook_has_a_heading_a_signature_and_a_sentence(name: str) -> None:
    section = PAGE.read_text().partition(f"### {name}\n")[2].partition("\n### ")[0]
    assert f"def {name}(" in section
    assert section.rpartition("```")[2].strip()


@pytest.mark.parametrize("name", [name for name, _ in hook_pages.hooks()])
def test_each_hook_is_used_in_a_test(name: str) -> None:
    tests = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    assert any(name in path.read_text("utf-8") for path in tests if path != Path(__file__))


def test_every_public_type_is_on_the_page() -> None:
    page = PAGE.read_text()
    aliases = {"Box", "Severity", "Delivery", "RunsIn", "ActionOutcome", "Recogniser"}
    named = {"API_VERSION", "hookimpl", "Clock", "PRINCIPAL"} | aliases
    errors = {name for name in plugin.__all__ if name.endswith("Error")}
    for name in set(plugin.__all__) - named - errors - {"Endpoint", "Query"}:
        assert f"### {name}\n" in page, name
