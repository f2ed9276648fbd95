"""`/` and its two files. Open to everybody: what the page asks for is authorised where it is asked for."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from heldard.api.endpoint import route

_POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def _file(name: str, content_type: str) -> web.Response:
    return web.Response(
        body=files(__package__).joinpath(name).read_bytes(),
        content_type=content_type,
        charset="utf-8",
        headers={
            "content-security-policy": _POLICY,
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        },
    )


@route("GET", "/", capability=None, tag="page", produces="text/html")
async def page(request: web.Request) -> web.Response:
    """The live page."""
    return _file("index.html", "text/html")


@route("GET", "/page.js", capability=None, tag="page", produces="text/javascript")
async def script(request: web.Request) -> web.Response:
    """The live page's script."""
    return _file("page.js", "text/javascript")


@route("GET", "/page.css", capability=None, tag="page", produces="text/css")
async def style(request: web.Request) -> web.Response:
    """The live page's style."""
    return _file("page.css", "text/css")


ROUTES = (page, script, style)
