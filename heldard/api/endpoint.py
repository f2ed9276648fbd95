"""One decorator between a typed function and an HTTP route: decode, authorise, call, encode.

    @route("POST", "/api/v1/cameras", capability="registry:manage", status=201)
    async def create(request: web.Request, body: CameraCreate) -> Camera:
        "Add a camera."
        return await request.app[keys.CAMERAS].add(body)

A handler takes the request, then by name any of: its path parameters (str), `body` (any type msgspec decodes) and
`query` (a `Query` struct). What it returns is encoded as JSON; a `Reply` carries another status or headers, and a
`web.StreamResponse` is passed through. Handlers raise HeldardError; they never build error bodies.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from heldard.errors import InvalidError, MediaTypeError, ShapeError, SlowError, TooLargeError

BODY_LIMIT_BYTES = 2 * 1024 * 1024
"""How large a request body may be, decompressed, where a route does not say otherwise."""

BODY_S = 30.0
"""How long a body may take to arrive."""

_PATH_NAME = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_CONSTRAINT = re.compile(r"` (>=|<=|>|<) |of length|matching regex|multiple of|Invalid enum value|out of range")
_ENCODER = msgspec.json.Encoder()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the structs that query strings are read into; unknown keys are ignored, values converted from text."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A handler's answer where the status or a header differs from the route's."""

    value: T
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Principal(Protocol):
    """Who is asking. See heldard.auth."""

    @property
    def id(self) -> str: ...
    def can(self, capability: str) -> bool: ...
    def sees(self, camera_id: str) -> bool: ...
    @property
    def scoped(self) -> bool: ...


class Guard(Protocol):
    """Decides who is asking and what they may do."""

    async def authorise(self, request: web.Request, endpoint: Endpoint) -> None:
        """Put the principal into `request[PRINCIPAL]`; raise UnauthenticatedError or ForbiddenError."""


class Auditor(Protocol):
    """Remembers who changed what, whichever route it came by."""

    async def watch(
        self, request: web.Request, endpoint: Endpoint, body: Any, act: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Carry out a request that changes something, and answer with what `act` gives."""


GUARD = web.AppKey("guard", Guard)
PRINCIPAL = web.RequestKey("principal", Principal)
AUDITOR = web.AppKey("auditor", Auditor)

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Endpoint:
    """A declared route: everything the router, the guard and the OpenAPI document need to know of it.

    capability: the slug a caller must hold, None for routes open to everybody.
    camera: the path parameter that is a camera id, checked against the caller's scope before anything is looked up.
    unscoped: only callers without a camera scope may use it.
    audit: a change made through it goes into the audit log; False only for what workers do all the time.
    names_target: the last name in the path goes with it; False where that is itself what must not be written down.
    produces, takes, answers, also: for the API document, where the handler's types do not say it: the content type and
    the types of the body it reads by itself and of its answer, and other statuses of the same answer.
    """

    method: str
    path: str
    handler: Handler
    capability: str | None
    camera: str | None
    unscoped: bool
    status: int
    body_limit: int
    summary: str
    body: Any = None
    query: type[Query] | None = None
    returns: Any = None
    path_names: tuple[str, ...] = ()
    tag: str = ""
    audit: bool = True
    names_target: bool = True
    produces: str = "application/json"
    takes: Any = None
    answers: Any = None
    also: tuple[int, ...] = ()

    def bind(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The aiohttp handler."""
        decoder = None if self.body is None else msgspec.json.Decoder(self.body)

        async def handle(request: web.Request) -> web.StreamResponse:
            await request.app[GUARD].authorise(request, self)
            given: dict[str, Any] = {name: request.match_info[name] for name in self.path_names}
            if self.query is not None:
                given["query"] = read_query(self.query, request)
            if decoder is not None:
                given["body"] = decode(decoder, await read_json_body(request, self.body_limit))

            async def act() -> web.StreamResponse:
                return self.answer(await self.handler(request, **given))

            return (
                await request.app[AUDITOR].watch(request, self, given.get("body"), act) if self.audit else await act()
            )

        return handle

    def answer(self, value: Any) -> web.StreamResponse:
        if isinstance(value, web.StreamResponse):
            return value
        if isinstance(value, Reply):
            return json_response(value.value, value.status, value.headers)
        if self.status == 204:
            return web.Response(status=204)
        return json_response(value, self.status)


def route(
    method: str,
    path: str,
    *,
    capability: str | None,
    camera: str | None = None,
    unscoped: bool = False,
    status: int = 200,
    body_limit: int = BODY_LIMIT_BYTES,
    tag: str = "",
    audit: bool = True,
    names_target: bool = True,
    produces: str = "application/json",
    takes: Any = None,
    answers: Any = None,
    also: tuple[int, ...] = (),
) -> Callable[[Handler], Endpoint]:
    """Declare a route. The first line of the handler's docstring is its summary in the API document."""

    def declare(handler: Handler) -> Endpoint:
        hints = typing.get_type_hints(handler, include_extras=True)
        parameters = inspect.signature(handler).parameters
        names = tuple(_PATH_NAME.findall(path))
        missing = [name for name in names if name not in parameters]
        if missing:
            raise TypeError(f"{method} {path}: the handler takes no parameter {missing[0]!r}")
        return Endpoint(
            method, path, handler, capability, camera, unscoped, status, body_limit,
            summary=(inspect.getdoc(handler) or "").partition("\n")[0],
            body=hints.get("body"), query=hints.get("query"), returns=hints.get("return"), path_names=names,
            tag=tag or path.removeprefix("/api/v1/").partition("/")[0],
            audit=audit and method not in ("GET", "HEAD", "OPTIONS"), names_target=names_target, produces=produces,
            takes=takes, answers=answers, also=also,
        )  # fmt: skip

    return declare


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=_ENCODER.encode(value), status=status, headers=headers, content_type="application/json")


async def read_json_body(request: web.Request, limit: int) -> bytes:
    """The whole body, decompressed. Raises MediaTypeError, TooLargeError, or InvalidError for a broken encoding."""
    kind = request.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        raise MediaTypeError(f"this route takes application/json, not {kind!r}: set the Content-Type header")
    return await read_body(request, limit)


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, decompressed as Content-Encoding says, refused before it is read where its length is known."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(None if request.content.is_eof() else BODY_S):
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise SlowError(f"the body did not arrive within {BODY_S:g} s: send less at once") from None
    except (HttpProcessingError, ClientPayloadError, web.RequestPayloadError, ConnectionError) as error:
        request.content.feed_eof()  # else aiohttp reads on, to skip the rest, and drops our answer when that fails
        raise InvalidError(f"the body could not be read: {error}", code="bad_body") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is over {limit} bytes: send less at once", details={"limit_bytes": limit})


def decode(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """Decode, with errors that name the element (`detections[17].bbox[2]`)."""
    try:
        return _decoded(decoder, raw)
    except msgspec.ValidationError as error:
        raise shape_error(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f"the body is not JSON: {error}", code="bad_json") from None


def _decoded(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """In JSON, and in JSON Schema, 640.0 is an integer: some encoders write every number so."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise
        return msgspec.convert(_whole(msgspec.json.decode(raw)), decoder.type)


def _whole(value: Any) -> Any:
    """The same JSON with whole numbers as int, where a float tells each from its neighbours."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


@functools.cache
def _names(kind: type[Query]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


@functools.cache
def _texts(kind: type[Query]) -> frozenset[str]:
    """The parameters that may be any text."""
    return frozenset(
        field.encode_name for field in msgspec.structs.fields(kind) if str in (field.type, *typing.get_args(field.type))
    )


def read_query(kind: type[Query], request: web.Request) -> Any:
    given = dict(request.query)
    for name in _names(kind) & given.keys():
        if len(request.query.getall(name)) > 1:
            raise InvalidError(f"query: {name} is given twice", code="bad_query")
        if given[name] == "null" and name not in _texts(kind):  # which would be read as absent
            raise InvalidError(f"query: {name}: null is no value here: leave it out", code="bad_query")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        failure = shape_error(str(error))
        raise InvalidError(f"query: {failure.message}", code="bad_query", details=failure.details) from None


def shape_error(text: str) -> InvalidError | ShapeError:
    """msgspec's message as ours: 400 when a value breaks a constraint, 422 when the shape is another."""
    message, _, where = text.partition(" - at `")
    element = where.rstrip("`").removeprefix("$").removeprefix(".")
    kind = InvalidError if _CONSTRAINT.search(message) else ShapeError
    if not element:
        return kind(message)
    return kind(f"{element}: {message}", details={"element": element})
