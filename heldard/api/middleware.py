"""One middleware makes the one error body: `{"error", "code", "details"?}`."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from heldard import keys
from heldard.api.endpoint import json_response
from heldard.db.group import explain
from heldard.errors import HeldardError, StoreError

log: Any = structlog.get_logger("heldard.api")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts each request by its route, and how long the answer took; a client that went away counts as 499."""
    clock, meter = request.app[keys.CLOCK], request.app[keys.METER]
    began, status = clock.monotonic(), 499
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        resource = request.match_info.route.resource
        method = "other" if resource is None else request.method
        meter.answered(method, resource.canonical if resource else "none", status, clock.monotonic() - began)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HeldardError as error:
        request.app[keys.METER].refused[error.code] += 1
        return error_response(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _of_http(request, error)
    except sqlite3.Error as error:
        explained = explain(error)
        if isinstance(explained, HeldardError):
            return error_response(explained)
        log.exception("store_failed", path=request.path)
        return error_response(StoreError("the database could not answer; see the log"))
    except Exception:
        log.exception("request_failed", method=request.method, path=request.path)
        return json_response({"error": "internal error; the log says more", "code": "internal"}, 500)


def error_response(error: HeldardError) -> web.Response:
    body: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.details is not None:
        body["details"] = error.details
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="heldard"'
    response = json_response(body, error.status, headers)
    if error.code == "bad_body":
        response.force_close()  # nobody knows where in the stream the next request would begin
    return response


def _of_http(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == 404:
        return json_response({"error": f"nothing is at {request.path}", "code": "no_such_path"}, 404)
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        body = {"error": f"{request.method} is not for {request.path}; use {allowed}", "code": "method_not_allowed"}
        return json_response(body, 405, {"Allow": allowed})
    if error.status == 413:
        return json_response({"error": "the body is too large", "code": "too_large"}, 413)
    return json_response({"error": error.reason, "code": f"http_{error.status}"}, error.status)
