"""The network-exposed profile as the how-to page has it: TLS by nginx, auth on, a worker, a scoped viewer."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from tests.leases.upstream_worker import UpstreamWorker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs/how-to/expose-to-a-network.md"
SEEN = [{"label": "car", "confidence": 0.9, "bbox": [0.1, 0.1, 0.2, 0.2], "track_id": "1"}]


def block(language: str) -> str:
    """The page's block of that language, as people copy it."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is not installed: apt-get install nginx-light")
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    return found


def certificate(folder: Path) -> None:
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "1",
            "-keyout", str(folder / "heldard.key"), "-out", str(folder / "heldard.crt"), "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True, capture_output=True,
    )  # fmt: skip


def site(folder: Path, daemon_port: int, tls_port: int) -> Path:
    """The page's site in a configuration of its own."""
    text = block("nginx").replace("listen 443", f"listen 127.0.0.1:{tls_port}").replace("box.example", "localhost")
    text = text.replace("/etc/ssl", str(folder)).replace("127.0.0.1:8000", f"127.0.0.1:{daemon_port}")
    places = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr info; events {{}}\n"
        f"http {{ access_log off; {places}\n{text}\n}}\n"
    )
    return config


@asynccontextmanager
async def running(command: list[str], log: Path) -> AsyncIterator[None]:
    with log.open("w") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


def heldard(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "heldard", *arguments], input=given, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def video(folder: Path) -> None:
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x240:r=10", "-t", "60", "-g", "10",
         str(folder / "clip.mp4")], check=True,
    )  # fmt: skip


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str, key: str = "") -> None:
        self.session, self.url, self.key = session, url, key

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        given = {**({"X-API-Key": self.key} if self.key else {}), **headers}
        async with self.session.request(method, self.url + path, json=body, headers=given) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.read())


async def up(client: Client) -> None:
    async with asyncio.timeout(40):
        while True:
            try:
                if (await client.ask("GET", "/readyz"))[0] == 200:
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)


async def test_the_exposed_profile_serves_a_worker_and_a_scoped_viewer_over_tls(nginx: str, tmp_path: Path) -> None:
    certificate(tmp_path)
    video(tmp_path)
    daemon_port, tls_port = unused_port(), unused_port()
    config = tmp_path / "heldard.toml"
    config.write_text(block("toml") + f'\n[sampler]\nmedia_dir = "{tmp_path}"\n')
    data = ["--config", str(config), "--data-dir", str(tmp_path / "data")]
    heldard("users", "add", "ada", "--role", "admin", *data, given="correct horse\n")
    worker_key = heldard("keys", "add", "worker-1", *data)
    viewer_key = heldard(
        "keys", "add", "display", "--can", "camera:read", "--can", "ai:frames", "--camera", "gate", *data
    )
    serve = [sys.executable, "-m", "heldard", "serve", *data, "--port", str(daemon_port)]
    proxy = [nginx, "-e", "stderr", "-c", str(site(tmp_path, daemon_port, tls_port))]
    trust = ssl.create_default_context(cafile=str(tmp_path / "heldard.crt"))
    async with (
        running(serve, tmp_path / "daemon.log"),
        running(proxy, tmp_path / "nginx.log"),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
    ):
        base = f"https://localhost:{tls_port}"
        admin = Client(session, base)
        await up(admin)
        await signed_in_administrator(admin)
        await worker_and_viewer(session, base, worker_key, viewer_key)
        await what_is_refused(session, base, viewer_key)
    assert '"level": "error"' not in (tmp_path / "daemon.log").read_text()


async def signed_in_administrator(admin: Client) -> None:
    """A person signs in; the cookie works for pages of this origin and for no other's."""
    status, answer = await admin.ask("POST", "/api/v1/auth/login", {"username": "ada", "password": "correct horse"})
    assert (status, answer["user"]["role"]) == (200, "admin")
    cookie = {"Cookie": f"heldar_session={answer['token']}"}
    for camera in ("gate", "yard"):
        body = {"name": camera, "sub_stream_url": "file:clip.mp4"}
        status, made = await admin.ask("POST", "/api/v1/cameras", body, Origin=admin.url, **cookie)
        assert status == 201, made
        await admin.ask("POST", f"/api/v1/cameras/{camera}/ai-tasks", {"task_type": "detection", "fps": 5}, **cookie)
    elsewhere = await admin.ask("POST", "/api/v1/cameras", {"name": "x"}, Origin="https://evil.example", **cookie)
    assert (elsewhere[0], elsewhere[1]["code"]) == (403, "cross_origin")
    admin.session.cookie_jar.clear()


async def worker_and_viewer(session: aiohttp.ClientSession, base: str, worker_key: str, viewer_key: str) -> None:
    made = UpstreamWorker(session, base, "far:1", api_key=worker_key)
    assert len(await made.tick()) == 2
    runner = next(runner for runner in made.runners.values() if runner.camera_id == "gate")
    done: list[Any] = []
    async with asyncio.timeout(60):
        while len(done) < 5:
            answer = await runner.cycle(SEEN)
            if isinstance(answer, dict):
                assert answer["ticketed"] is True
                done.append(answer)
            await asyncio.sleep(0.05)
    assert made.errors == []
    viewer = Client(session, base, viewer_key)
    status, cameras = await viewer.ask("GET", "/api/v1/cameras")
    assert [camera["id"] for camera in cameras] == ["gate"]
    status, picture = await viewer.ask("GET", "/api/v1/cameras/gate/frame?wait=5")
    assert (status, picture[:2]) == (200, b"\xff\xd8")
    assert (await viewer.ask("GET", "/api/v1/cameras/yard/frame"))[0] == 403
    assert (await viewer.ask("GET", "/api/v1/cameras/gate/detections"))[0] == 403


async def what_is_refused(session: aiohttp.ClientSession, base: str, viewer_key: str) -> None:
    nobody = Client(session, base)
    assert (await nobody.ask("GET", "/api/v1/cameras"))[0] == 401
    assert (await Client(session, base, "vok_bad").ask("GET", "/api/v1/cameras"))[0] == 401
    assert (await Client(session, base, viewer_key).ask("POST", "/api/v1/cameras", {"name": "x"}))[0] == 403
    wrong = {"username": "ada", "password": "wrong password"}
    statuses = [(await nobody.ask("POST", "/api/v1/auth/login", wrong))[0] for _ in range(12)]
    assert set(statuses) == {401, 429}  # nginx slows guessing before the lockout does
    url = base.replace("https", "http")
    assert (await nobody.session.get(f"{url}/healthz")).status == 400  # plain HTTP on the TLS port
