"""Where webhooks may go, whatever names say."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from heldard.outgoing.sender import Sender
from heldard.outgoing.target import CheckedResolver, TargetRefusedError, refusal


@pytest.mark.parametrize(
    "text",
    ["169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
     "255.255.255.255", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "100.100.100.200"],
)  # fmt: skip
def test_never_reached(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), allow_private=True) or text == "255.255.255.255"
    assert refusal(ipaddress.ip_address(text), allow_private=False)


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1",
             "64:ff9b::7f00:1"],
)  # fmt: skip
def test_private_ones_only_when_allowed(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert refusal(address, allow_private=True) is None
    assert "allow_private" in (refusal(address, allow_private=False) or "")


@pytest.mark.parametrize("text", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "8.8.8.8"])
def test_public_ones_are(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), allow_private=False) is None


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1"])
async def test_names_and_odd_spellings_of_refused_addresses_are_refused_when_resolved(host: str) -> None:
    resolver = CheckedResolver(allow_private=False)
    with pytest.raises(TargetRefusedError):
        await resolver.resolve(host, 80, socket.AF_INET)
    await resolver.close()


async def test_a_name_that_changes_its_address_gains_nothing(aiohttp_server: Any, monkeypatch: Any) -> None:
    """The connection goes where the checked answer says, and every connection asks anew."""
    from aiohttp import web

    reached: list[str] = []

    async def take(request: web.Request) -> web.Response:
        reached.append(request.host)
        return web.Response(status=204, headers={"Connection": "close"})

    app = web.Application()
    app.router.add_post("/", take)
    server = await aiohttp_server(app)
    answers = iter(["127.0.0.1", "169.254.169.254"])

    async def resolve(_self: Any, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        found = next(answers)
        return [{"hostname": host, "host": found, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", resolve)
    sender = Sender(5, allow_private=True)
    url = f"http://rebind.example:{server.port}/"
    first, second = [await sender.post(url, b"{}", {}) for _ in range(2)]
    await sender.close()
    assert (first.verdict, second.verdict) == ("delivered", "later")
    assert "169.254.169.254" in (second.error or "")
    assert reached == [f"rebind.example:{server.port}"]
