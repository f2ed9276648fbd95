"""`/media/snapshots/{name}`: kept frames."""

from __future__ import annotations

import asyncio

from aiohttp import web

from heldard.api.endpoint import PRINCIPAL, route
from heldard.errors import ForbiddenError, NotFoundError
from heldard.frames.evidence import EvidenceStore

EVIDENCE = web.AppKey("evidence", EvidenceStore)


@route("GET", "/media/snapshots/{name}", capability="video:playback", tag="media", produces="image/jpeg")
async def snapshot(request: web.Request, name: str) -> web.StreamResponse:
    """A kept frame, as it was analysed."""
    path = request.app[EVIDENCE].path(name)
    if request[PRINCIPAL].scoped and (path is None or not request[PRINCIPAL].sees(path.parent.name)):
        raise ForbiddenError("that picture is not of a camera in this credential's scope", code="out_of_scope")
    if path is None or not await asyncio.to_thread(path.is_file):
        raise NotFoundError("no such picture is kept", code="media_not_found")
    return web.FileResponse(path, headers={"cache-control": "private, max-age=3600"})


ROUTES = (snapshot,)
