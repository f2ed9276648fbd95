"""The API described in OpenAPI 3.1, made from the declared routes and their structs; nothing is written twice."""

from __future__ import annotations

import asyncio
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from heldard import __version__, api_pages
from heldard.api.endpoint import Endpoint, Reply, route
from heldard.auth.capabilities import SIGNED_IN
from heldard.auth.guard import COOKIE


class Description:
    """The document of some routes, made when it is first asked for."""

    def __init__(self, endpoints: Sequence[Endpoint], *, auth: bool, sources: Mapping[str, Path]) -> None:
        """sources: where the code of plugins lies, by their names."""
        self._endpoints = endpoints
        self._auth = auth
        self._sources = sources
        self._document: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        if self._document is None:
            self._document = document(self._endpoints, auth=self._auth, sources=self._sources)
        return self._document


DESCRIPTION = web.AppKey("openapi", Description)

_PATTERN = re.compile(r"{(\w+):[^}]*}")

REF = "#/components/schemas/{name}"

STATUSES = {
    304: "The caller has it already",
    400: "A value is not acceptable",
    401: "No valid credential",
    403: "The credential does not reach this",
    404: "Nothing is there",
    408: "The body came too slowly",
    409: "In conflict with what is there",
    413: "The body is too large",
    415: "Another content type is wanted",
    422: "The body has another shape",
    429: "More often than one's share",
    503: "Not now; retry after the time given",
    507: "No room on the disk",
}


class Error(msgspec.Struct, frozen=True):
    """Every error there is. code: stable, one of those in `x-errors`. error: what happened and what to do."""

    error: str
    code: str
    details: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def document(
    endpoints: Sequence[Endpoint], *, auth: bool = True, sources: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """The whole document. Its order follows paths and methods, so that equal APIs give equal texts.

    auth: a credential is needed; else it is only welcome. sources: where the code of plugins lies, for their errors.
    """
    ordered = sorted(endpoints, key=lambda endpoint: (endpoint.path, endpoint.method))
    kinds = [Error, *(kind for endpoint in ordered for kind in _kinds(endpoint))]
    try:
        schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    except TypeError:
        told = [kind if is_describable(kind) else Any for kind in kinds]
        schemas, components = msgspec.json.schema_components(told, ref_template=REF)
    schema_of = {_key(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ordered:
        paths.setdefault(_PATTERN.sub(r"{\1}", endpoint.path), {})[endpoint.method.lower()] = _operation(
            endpoint, schema_of, auth=auth
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "heldard",
            "version": __version__,
            "description": "Cameras, tasks, frames, detections, events, and what plugins add.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({endpoint.tag for endpoint in ordered})],
        "x-errors": api_pages.for_openapi({"heldard": api_pages.KERNEL, **(sources or {})}),
        "paths": paths,
        "components": {
            "schemas": {name: components[name] for name in sorted(components)},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _kinds(endpoint: Endpoint) -> Iterable[Any]:
    for kind in (body_of(endpoint), answer_of(endpoint)):
        if kind is not None:
            yield kind


def _key(kind: Any) -> Any:
    try:
        hash(kind)
    except TypeError:
        return repr(kind)
    return kind


def is_describable(kind: Any) -> bool:
    """Whether JSON Schema can say it. What a plugin answers with need not be; it is then described as anything."""
    try:
        msgspec.json.schema(kind)
    except TypeError:
        return False
    return True


def body_of(endpoint: Endpoint) -> Any:
    return endpoint.takes if endpoint.body is None else endpoint.body


def answer_of(endpoint: Endpoint) -> Any:
    """The type of a good answer's JSON; None where it is no JSON or empty."""
    if endpoint.answers is not None:
        return endpoint.answers
    if endpoint.produces != "application/json" or endpoint.status == 204:
        return None
    kind = endpoint.returns
    if kind is Reply:
        return Any
    if typing.get_origin(kind) is Reply:
        return typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if not _is_response(part)]
        return parts[0] if len(parts) == 1 else Any
    return None if kind in (None, type(None)) else Any if _is_response(kind) else kind


def _is_response(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, web.StreamResponse)


def _operation(endpoint: Endpoint, schema_of: dict[Any, Any], *, auth: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{endpoint.tag}.{endpoint.handler.__name__}",
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, schema_of),
        "security": _security(endpoint, auth=auth),
    }
    if endpoint.capability not in (None, SIGNED_IN):
        found["x-capability"] = endpoint.capability
    if body_of(endpoint) is not None:
        content = {"application/json": {"schema": schema_of[_key(body_of(endpoint))]}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _security(endpoint: Endpoint, *, auth: bool) -> list[dict[str, list[str]]]:
    if endpoint.capability is None:
        return []
    ways: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {"session": []}]
    return ways if auth else [{}, *ways]


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in endpoint.path_names
    ]
    if endpoint.query is not None:
        for field in msgspec.structs.fields(endpoint.query):
            schema = _in_text(msgspec.json.schema(field.type))
            found.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    return found


def _in_text(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: absent means absent."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    return options[0] if len(options) == 1 else {**schema, "anyOf": options} if options else schema


def _responses(endpoint: Endpoint, schema_of: dict[Any, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": endpoint.summary or "Done"}
    kind = answer_of(endpoint)
    if kind is not None:
        good["content"] = {endpoint.produces: {"schema": schema_of[_key(kind)]}}
    elif endpoint.status != 204 and endpoint.produces != "application/json":
        good["content"] = {endpoint.produces: {}}
    found = {str(endpoint.status): good, **{str(status): dict(good) for status in endpoint.also}}
    for status in sorted(_trouble(endpoint)):
        error = {"description": STATUSES[status], "content": {"application/json": {"schema": schema_of[Error]}}}
        if status == 304:
            error = {"description": STATUSES[status]}
        elif status in (429, 503):
            error["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}
        found.setdefault(str(status), error)
    return found


def _trouble(endpoint: Endpoint) -> set[int]:
    """What can go wrong there."""
    found = {400, 404, 429, 503}
    if endpoint.capability is not None or endpoint.body is not None:
        found |= {401}
    if endpoint.method not in ("GET", "HEAD"):
        found |= {409, 507}
    if body_of(endpoint) is not None:
        found |= {408, 413, 415, 422}
    return found | {403}


@route("GET", "/api/v1/openapi.json", capability=None, tag="health")
async def openapi(request: web.Request) -> dict[str, Any]:
    """This document, with the routes of the plugins that run."""
    return await asyncio.to_thread(request.app[DESCRIPTION].document)


ROUTES = (openapi,)
