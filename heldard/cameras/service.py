"""The camera registry: in memory for those who ask at each batch, in the database for good."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import UNSET

from heldard import ids
from heldard.cameras.model import Camera, CameraCreate, CameraPatch, CameraView
from heldard.cameras.store import CameraStore
from heldard.cameras.urls import mask, stream_url
from heldard.clock import Clock, rfc3339
from heldard.errors import InvalidError, NotFoundError

MAX_CAMERAS = 512
"""A registry is held in memory and one box decodes its streams."""

Watcher = Callable[[str, Camera | None], Coroutine[Any, Any, None]]


class Cameras:
    """Add, change, remove, look up. Watchers are told `(camera id, camera or None when deleted)` after the commit."""

    def __init__(
        self, store: CameraStore, clock: Clock, default_site: str | None, check_source: Callable[[str], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._default_site = default_site
        self._check_source = check_source
        self._by_id: dict[str, Camera] = {}
        self.watchers: list[Watcher] = []

    async def load(self) -> None:
        self._by_id = {camera.id: camera for camera in await self._store.all()}

    def all(self) -> list[Camera]:
        return [self._by_id[camera_id] for camera_id in sorted(self._by_id)]

    def find(self, camera_id: str) -> Camera | None:
        return self._by_id.get(camera_id)

    def get(self, camera_id: str) -> Camera:
        """Raises NotFoundError."""
        camera = self._by_id.get(camera_id)
        if camera is None:
            raise NotFoundError(f"no camera {camera_id!r}: see GET /api/v1/cameras", code="camera_not_found")
        return camera

    async def add(self, body: CameraCreate) -> Camera:
        """Raises InvalidError for a bad value, ConflictError when the id is taken."""
        if len(self._by_id) >= MAX_CAMERAS:
            raise InvalidError(f"this box has {MAX_CAMERAS} cameras already, the limit", code="too_many_cameras")
        now = self._clock.now_ms()
        given = {key: value for key, value in msgspec.structs.asdict(body).items() if value is not None}
        given.setdefault("site_id", self._default_site)
        camera = Camera(**{**given, "id": ids.slug(body.id or body.name), "created_ms": now, "updated_ms": now})
        self._check(camera)
        await self._store.insert(camera)
        await self._changed(camera.id, camera)
        return camera

    async def change(self, camera_id: str, body: CameraPatch) -> Camera:
        given = {key: value for key, value in msgspec.structs.asdict(body).items() if value is not UNSET}
        camera = msgspec.structs.replace(self.get(camera_id), **given, updated_ms=self._clock.now_ms())
        self._check(camera)
        await self._store.update(camera)
        await self._changed(camera_id, camera)
        return camera

    async def remove(self, camera_id: str) -> None:
        self.get(camera_id)
        await self._store.delete(camera_id)
        await self._changed(camera_id, None)

    async def _changed(self, camera_id: str, camera: Camera | None) -> None:
        if camera is None:
            self._by_id.pop(camera_id, None)
        else:
            self._by_id[camera_id] = camera
        for watcher in self.watchers:
            await watcher(camera_id, camera)

    def _check(self, camera: Camera) -> None:
        if not camera.name.strip():
            raise InvalidError("name: must not be blank")
        for field in ("address", "username", "password"):
            _refuse_blanks(field, getattr(camera, field), blanks=field != "address")
        for field in ("main_stream_url", "sub_stream_url"):
            url = getattr(camera, field)
            _refuse_blanks(field, url)
            if url is not None:
                self._check_source(url)


def _refuse_blanks(field: str, value: str | None, *, blanks: bool = False) -> None:
    if value is not None and any((c.isspace() and not blanks) or ord(c) < 32 for c in value):
        raise InvalidError(f"{field}: must not contain blanks or control characters")


def view(camera: Camera) -> CameraView:
    """The camera as the API shows it."""
    url = stream_url(camera, camera.record_stream)
    return CameraView(
        id=camera.id,
        site_id=camera.site_id,
        name=camera.name,
        vendor=camera.vendor,
        model=camera.model,
        address=camera.address,
        rtsp_port=camera.rtsp_port,
        username=camera.username,
        has_password=camera.password is not None,
        record_stream=camera.record_stream,
        record_url_masked=None if url is None else mask(url),
        capabilities=camera.capabilities,
        enabled=camera.enabled,
        priority=camera.priority,
        created_at=rfc3339(camera.created_ms),
        updated_at=rfc3339(camera.updated_ms),
    )
