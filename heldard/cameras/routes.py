"""`/api/v1/cameras`."""

from __future__ import annotations

from aiohttp import web

from heldard import keys
from heldard.api.endpoint import PRINCIPAL, route
from heldard.cameras.model import CameraCreate, CameraPatch, CameraView
from heldard.cameras.service import view


@route("GET", "/api/v1/cameras", capability="camera:read")
async def list_cameras(request: web.Request) -> list[CameraView]:
    """Every camera the caller may see, by id."""
    principal = request[PRINCIPAL]
    return [view(camera) for camera in request.app[keys.CAMERAS].all() if principal.sees(camera.id)]


@route("GET", "/api/v1/cameras/{camera_id}", capability="camera:read", camera="camera_id")
async def get_camera(request: web.Request, camera_id: str) -> CameraView:
    """One camera."""
    return view(request.app[keys.CAMERAS].get(camera_id))


@route("POST", "/api/v1/cameras", capability="registry:manage", unscoped=True, status=201)
async def create_camera(request: web.Request, body: CameraCreate) -> CameraView:
    """Add a camera."""
    return view(await request.app[keys.CAMERAS].add(body))


@route("PATCH", "/api/v1/cameras/{camera_id}", capability="registry:manage", camera="camera_id")
async def patch_camera(request: web.Request, camera_id: str, body: CameraPatch) -> CameraView:
    """Change a camera; null clears."""
    return view(await request.app[keys.CAMERAS].change(camera_id, body))


@route("DELETE", "/api/v1/cameras/{camera_id}", capability="admin", camera="camera_id", status=204)
async def delete_camera(request: web.Request, camera_id: str) -> None:
    """Remove a camera, its tasks and its detections."""
    await request.app[keys.CAMERAS].remove(camera_id)


ROUTES = (list_cameras, get_camera, create_camera, patch_camera, delete_camera)
