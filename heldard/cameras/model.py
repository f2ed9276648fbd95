"""What a camera is, as stored, as asked for and as shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from heldard.plugin import CameraInfo

Profile = Literal["main", "sub"]

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Url = Annotated[str, Meta(min_length=1, max_length=2000)]
Word = Annotated[str, Meta(max_length=200)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Priority = Annotated[int, Meta(ge=0, le=1_000_000)]


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """One row, secrets opened. `priority`: higher wins when the fps budget is short."""

    id: str
    name: str
    site_id: str | None = None
    vendor: str = "generic"
    model: str | None = None
    address: str | None = None
    rtsp_port: int = 554
    username: str | None = None
    password: str | None = None
    main_stream_url: str | None = None
    sub_stream_url: str | None = None
    record_stream: Profile = "main"
    capabilities: dict[str, Any] = {}
    enabled: bool = True
    priority: int = 100
    created_ms: int
    updated_ms: int

    @property
    def info(self) -> CameraInfo:
        return CameraInfo(self.id, self.name, self.site_id, self.enabled, self.priority)


class CameraView(msgspec.Struct, frozen=True, kw_only=True):
    """A camera as the API shows it: no password, no stream URL with its user."""

    id: str
    site_id: str | None
    name: str
    vendor: str
    model: str | None
    address: str | None
    rtsp_port: int
    username: str | None
    has_password: bool
    record_stream: Profile
    record_url_masked: str | None
    capabilities: dict[str, Any]
    enabled: bool
    priority: int
    created_at: str
    updated_at: str


class CameraCreate(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /cameras`. The id is the slug of `id`, or of the name."""

    name: Name
    id: Word | None = None
    site_id: Word | None = None
    vendor: Word = "generic"
    model: Word | None = None
    address: Word | None = None
    rtsp_port: Port | None = None
    username: Word | None = None
    password: Word | None = None
    main_stream_url: Url | None = None
    sub_stream_url: Url | None = None
    record_stream: Profile | None = None
    capabilities: dict[str, Any] | None = None
    enabled: bool | None = None
    priority: Priority | None = None


class CameraPatch(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `PATCH /cameras/{id}`: what is absent stays, null clears what may be empty."""

    name: Name | UnsetType = UNSET
    site_id: Word | UnsetType | None = UNSET
    vendor: Word | UnsetType = UNSET
    model: Word | UnsetType | None = UNSET
    address: Word | UnsetType | None = UNSET
    rtsp_port: Port | UnsetType = UNSET
    username: Word | UnsetType | None = UNSET
    password: Word | UnsetType | None = UNSET
    main_stream_url: Url | UnsetType | None = UNSET
    sub_stream_url: Url | UnsetType | None = UNSET
    record_stream: Profile | UnsetType = UNSET
    capabilities: dict[str, Any] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
