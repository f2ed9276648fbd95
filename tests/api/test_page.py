"""The live page is served whole, and asks nobody but the daemon."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from heldard import config
from heldard.app import build


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    settings = config.settle({"store": {"data_dir": str(tmp_path)}, "sampler": {"enabled": False}})
    async with TestClient(TestServer(await build(settings, found=[]))) as client:
        yield client


async def test_the_page_and_what_it_names_are_served_with_a_policy_that_keeps_it_at_home(client: Any) -> None:
    page = await client.get("/")
    text = await page.text()
    assert (page.status, page.content_type) == (200, "text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert set(named) == {"data:,", "page.css", "page.js"}
    for path, kind in (("/page.css", "text/css"), ("/page.js", "text/javascript")):
        file = await client.get(path)
        assert (file.status, file.content_type) == (200, kind)
        assert "default-src 'self'" in file.headers["content-security-policy"]
        assert "//" not in re.sub(r"^\s*// .*$|; // .*$", "", await file.text(), flags=re.MULTILINE)


async def test_the_page_never_sets_text_as_html(client: Any) -> None:
    script = await (await client.get("/page.js")).text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


async def test_with_auth_on_the_page_is_open_and_what_it_asks_for_is_not(tmp_path: Path) -> None:
    settings = config.settle(
        {"store": {"data_dir": str(tmp_path)}, "sampler": {"enabled": False}, "auth": {"enabled": True}}
    )
    async with TestClient(TestServer(await build(settings, found=[]))) as client:
        assert (await client.get("/")).status == 200
        for path in ("/api/v1/cameras", "/api/v1/events", "/api/v1/ai/samplers", "/api/v1/cameras/gate/frame"):
            assert (await client.get(path)).status == 401
