"""Pages of other sites cannot use a person's browser against this box."""

from __future__ import annotations

from typing import Any

import pytest

from heldard.api.origin import is_local_name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "localhost", "localhost:1", "10.1.2.3"])
def test_addresses_and_localhost_are_local_names(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8000", "localhost.evil.example", "[::1", "127.0.0.1.evil"]
)
def test_other_names_are_not(host: str) -> None:
    assert not is_local_name(host)


async def test_a_rebound_name_is_refused_while_auth_is_off(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        reply = await kernel.request("GET", "/api/v1/cameras", None, Host="evil.example")
        assert (reply.status, reply.body["code"]) == (403, "foreign_host")
    async with heldard_kernel(settings={"auth": {"enabled": True}}) as kernel:
        assert (await kernel.request("GET", "/healthz", None, Host="box.example")).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "//["}],
)
async def test_another_sites_page_changes_nothing(heldard_kernel: Any, headers: dict[str, str]) -> None:
    async with heldard_kernel() as kernel:
        reply = await kernel.request("POST", "/api/v1/cameras", {"name": "x"}, **headers)
        assert (reply.status, reply.body["code"]) == (403, "cross_origin")
        assert await kernel.get("/api/v1/cameras") == []
        host = kernel.url.removeprefix("http://")
        own = {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert (await kernel.request("POST", "/api/v1/cameras", {"name": "x"}, **own)).status == 201
