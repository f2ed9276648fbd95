"""Every route that takes a body, kernel's and plugins', is sent what nobody should send: the answer is never a failure.

Routes are found in the route table, fields in their types: what is added later is tried as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from heldard.api.endpoint import Endpoint
from heldard.api.openapi import body_of
from heldard.app import ROUTES
from heldard.testing import Kernel

DEEP = 5000

WHOLE = (
    b"", b"null", b"true", b"1", b'"x"', b"[]", b"{}", b"[{}]", b"NaN", b"-Infinity", b"{", b'{"a"', b"\x00",
    b"\xff\xfe", b'{"\\ud800": "\\ud800"}', b'{"": ""}', b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"9" * 5000, b"1e999999", b'"' + b"x" * 3_000_000 + b'"',
    b"\xef\xbb\xbf{}", b"{} {}", b"[" * 3_000_000,
)  # fmt: skip

IN_A_FIELD = (
    "null", "true", "-1", "0", "1.0", "1e308", "-1e308", "1e999999", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "1" + "0" * 400, "5e-324", "NaN", "Infinity", '""', '"\\u0000"', '"\\ud800"', '"\\n"',
    '"' + "x" * 100_000 + '"', '"\\u202e/../../etc/passwd"', "[]", "{}", "[[]]", "[null]", '["", ""]', '[{"":null}]',
    "[" * DEEP + "]" * DEEP, '{"a":{"a":[1e308,"\\u0000",null]}}', '["' + '","'.join("x" * 20_000) + '"]',
    "[[0,0],[1e308,1e308],[-1e308,0]]", '"0000-00-00T00:00:00Z"', '"9999-12-31T23:59:59Z"', '"file:///etc/passwd"',
)  # fmt: skip


@pytest.fixture
async def kernel(heldard_kernel: Any) -> Any:
    async with heldard_kernel("zones", "anpr") as kernel:
        yield kernel


async def things(kernel: Kernel) -> dict[str, str]:
    """One of each thing that a path can name, so that what is sent reaches beyond "not found"."""
    await kernel.add_camera("gate")
    task = await kernel.add_task("gate")
    made = {"/api/v1/cameras/": "gate", "/api/v1/ai-tasks/": task, "/api/v1/entry/gate/": "gate"}
    corner = [[0, 0], [1, 0], [1, 1]]
    for path, at, body in (
        ("zones/", "cameras/gate/zones", {"name": "z", "polygon": corner}),
        ("vehicles/", "vehicles", {"plate": "AB12CDE"}),
        ("passes/", "passes", {"visitor_name": "v"}),
        ("watchlist/", "watchlist", {"plate": "XY34ZZZ"}),
        ("anpr/groups/", "anpr/groups", {"name": "g"}),
        ("webhooks/", "webhooks", {"name": "w", "url": "https://example.org/", "enabled": False}),
        ("users/", "users", {"username": "eve", "password": "correct horse"}),
        ("api-keys/", "api-keys", {"name": "k"}),
    ):
        reply = await kernel.request("POST", f"/api/v1/{at}", body)
        assert reply.status == 201, (at, reply.body)
        made[f"/api/v1/{path}"] = reply.body["id"]
    return made


def taking(kernel: Kernel) -> list[Endpoint]:
    return [
        endpoint
        for endpoint in kernel.app[ROUTES]
        if endpoint.method in ("POST", "PUT", "PATCH") and "/auth/login" not in endpoint.path
    ]


def address(endpoint: Endpoint, made: dict[str, str]) -> str:
    named = next((made[start] for start in sorted(made, key=len, reverse=True) if endpoint.path.startswith(start)), "x")
    return re.sub(r"{[^}]*}", named, endpoint.path)


async def send(kernel: Kernel, endpoint: Endpoint, path: str, raw: bytes) -> None:
    assert kernel._client is not None
    headers = {"content-type": "application/json"}
    try:
        async with kernel._client.request(endpoint.method, path, data=io.BytesIO(raw), headers=headers) as answer:
            said = await answer.read()
            told = (endpoint.method, endpoint.path, raw[:200], answer.status, said[:300])
            assert answer.status < 500 or answer.status == 503, told
            if answer.status >= 400:
                error = msgspec.json.decode(said)
                assert error["code"], told
                assert error["code"] != "store_unavailable", told
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        assert len(raw) > 2_000_000, (endpoint.method, endpoint.path, raw[:200])  # refused before it was read


async def test_no_body_as_a_whole_makes_a_route_fail(kernel: Any) -> None:
    made = await things(kernel)
    routes = taking(kernel)
    assert len(routes) > 25
    for endpoint in routes:
        for raw in WHOLE:
            await send(kernel, endpoint, address(endpoint, made), raw)


@pytest.mark.timeout(600)
async def test_no_field_makes_a_route_fail(kernel: Any) -> None:
    made = await things(kernel)
    fields = 0
    for endpoint in taking(kernel):
        for raw in with_hostile_fields(body_of(endpoint)):
            fields += 1
            await send(kernel, endpoint, address(endpoint, made), raw)
    assert fields > 2000


def with_hostile_fields(kind: Any) -> Iterator[bytes]:
    """Bodies in which all required fields are plain and one, in turn each, is not; and with a key given twice."""
    described = msgspec.inspect.type_info(kind) if kind is not None else None
    if not isinstance(described, msgspec.inspect.StructType):
        return
    plain = {field.encode_name: sample(field.type) for field in described.fields if field.required}
    for field in described.fields:
        for hostile in IN_A_FIELD:
            given = {**plain, field.encode_name: hostile}
            yield ("{" + ",".join(f'"{name}":{value}' for name, value in given.items()) + "}").encode()
        twice = [*plain.items(), (field.encode_name, "null"), (field.encode_name, sample(field.type))]
        yield ("{" + ",".join(f'"{name}":{value}' for name, value in twice) + "}").encode()


def sample(kind: msgspec.inspect.Type) -> str:
    """A plain value of a type, as JSON."""
    match kind:
        case msgspec.inspect.UnionType():
            return sample(kind.types[0])
        case msgspec.inspect.LiteralType():
            return msgspec.json.encode(kind.values[0]).decode()
        case msgspec.inspect.StrType():
            return '"gate"'
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return "1"
        case msgspec.inspect.BoolType():
            return "true"
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            return "[]"
        case msgspec.inspect.StructType():
            return "{" + ",".join(f'"{f.encode_name}":{sample(f.type)}' for f in kind.fields if f.required) + "}"
        case _:
            return "{}"


async def test_a_whole_number_may_be_written_with_a_point(kernel: Any) -> None:
    """As JSON Schema has it, and as some encoders write every number."""
    await kernel.add_camera("gate")
    reply = await kernel.request("POST", "/api/v1/cameras/gate/ai-tasks", {"task_type": "x", "width": 640.0})
    assert (reply.status, reply.body["width"]) == (201, 640)
    for width in (640.5, 1e300):
        reply = await kernel.request("POST", "/api/v1/cameras/gate/ai-tasks", {"task_type": "y", "width": width})
        assert reply.status == 422, width
        assert reply.body["details"] == {"element": "width"}
