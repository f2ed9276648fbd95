"""The live page in a real browser: it shows cameras and events, asks nobody else, and nothing in it fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from heldard.testing import detection, post

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no chromium: CI has to have one")
        pytest.skip("no chromium is installed")
    return found


class Tab:
    """A page, by the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0
        self.requested: list[str] = []
        self.complaints: list[Any] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == self._calls:
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(message["params"])
            case "Log.entryAdded" if message["params"]["entry"]["level"] == "error":
                entry = message["params"]["entry"]
                if "/frame?" not in entry.get("url", ""):  # a camera without a picture, which the page says in words
                    self.complaints.append(entry)

    async def text(self) -> str:
        answer = await self.call("Runtime.evaluate", expression="document.body.innerText")
        return str(answer["result"].get("value", ""))


@asynccontextmanager
async def tab(folder: Path) -> AsyncIterator[Tab]:
    process = await asyncio.create_subprocess_exec(
        browser(), f"--user-data-dir={folder}", *FLAGS, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        async with asyncio.timeout(20):
            port_file = folder / "DevToolsActivePort"
            while not await asyncio.to_thread(port_file.exists):
                await asyncio.sleep(0.05)
            port = (await asyncio.to_thread(port_file.read_text)).split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [page for page in await answer.json(content_type=None) if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                opened = Tab(socket)
                for domain in ("Log", "Runtime", "Network", "Page"):
                    await opened.call(f"{domain}.enable")
                yield opened
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.e2e
@pytest.mark.parametrize("plugins", [("zones",), ()], ids=["zones", "no plugin"])
async def test_the_page_shows_a_camera_and_an_event_and_asks_nobody_else(
    heldard_kernel: Any, tmp_path: Path, plugins: tuple[str, ...]
) -> None:
    async with heldard_kernel(*plugins) as kernel, tab(tmp_path / "profile") as page:
        await kernel.add_camera("gate")
        await kernel.post(post("gate", detection(), event={"event_type": "seen_by_worker", "severity": "info"}))
        await page.call("Page.navigate", url=kernel.url + "/")
        text = ""
        async with asyncio.timeout(30):
            while not ("gate" in text and ("seen_by_worker" in text or "seen by worker" in text)):
                await asyncio.sleep(0.1)
                text = await page.text()
        async with asyncio.timeout(30):
            while not any(url.endswith("/zones" if plugins else "/plugins") for url in page.requested):
                await asyncio.sleep(0.1)
                await page.text()
        assert page.complaints == []
        assert page.requested
        assert all(url.startswith((kernel.url, "data:", "blob:")) for url in page.requested), page.requested
