"""The HTTP server's edge: what is not a request is answered in the one error shape, and nobody holds a connection by
being slow.

aiohttp limits the length of lines and headers; the time a client may take to send its first request, the number of
connections, and the text of parse errors are ours. The classes below extend aiohttp's where it has no setting for it;
tests/threats holds the behaviour, whatever becomes of aiohttp's insides.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server

from heldard.api.endpoint import json_response

HEADERS_S = 10.0
"""How long a new connection may take to send its first request's head."""

KEEPALIVE_S = 75.0
"""How long a connection may be idle, or dawdle over the head of a further request."""

MOST_CONNECTIONS = 1024
"""Open connections; further ones are closed at once."""

log: Any = structlog.get_logger("heldard.wire")


class Handler(RequestHandler):
    """One connection."""

    __slots__ = ("_late",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._late = None
        assert isinstance(transport, asyncio.Transport)
        manager = self._manager
        if isinstance(manager, JsonServer) and len(manager.connections) > manager.most_connections:
            manager.refused_total += 1
            transport.abort()
            return
        if isinstance(manager, JsonServer):
            self._late = self._loop.call_later(manager.headers_s, self._dawdled)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _dawdled(self) -> None:
        if self._request_count == 0:
            self.force_close()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what could not be read, or what broke below the application."""
        if request.writer.output_size > 0 or status != 400:
            return super().handle_error(request, status, exc, message)
        log.info("bad_http", remote=request.remote, reason=type(exc).__name__)
        response = json_response({"error": "this is no HTTP request that can be read", "code": "bad_http"}, status)
        response.force_close()
        return response


class JsonServer(Server):
    """Makes the connections' handlers."""

    headers_s: float = HEADERS_S
    most_connections: int = MOST_CONNECTIONS
    refused_total: int = 0

    def __call__(self) -> RequestHandler:
        return Handler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An AppRunner whose connections are `Handler`s."""

    __slots__ = ("_headers_s", "_most_connections")

    def __init__(
        self, app: web.Application, *, headers_s: float = HEADERS_S, most_connections: int = MOST_CONNECTIONS,
        **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(app, keepalive_timeout=KEEPALIVE_S, **settings)
        self._headers_s = headers_s
        self._most_connections = most_connections

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        server.__class__ = JsonServer
        assert isinstance(server, JsonServer)
        server.headers_s = self._headers_s
        server.most_connections = self._most_connections
        return server
