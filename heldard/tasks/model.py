"""Which detector runs on which camera."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from heldard.cameras.model import Profile

TaskType = Annotated[str, Meta(min_length=1, max_length=64)]

FPS_RANGE = (0.1, 30.0)
WIDTH_RANGE = (160, 3840)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One row. fps and width are what is asked for; the sampler's budget may grant less."""

    id: str
    camera_id: str
    task_type: str
    enabled: bool
    stream_profile: Profile
    fps: float
    width: int
    config: Any
    created_ms: int
    updated_ms: int


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the API shows it."""

    id: str
    camera_id: str
    task_type: str
    enabled: bool
    stream_profile: Profile
    fps: float
    width: int
    config: Any
    created_at: str
    updated_at: str


class WorkerTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task as workers see it. `frame_url` is where its frames are pulled."""

    id: str
    camera_id: str
    task_type: str
    stream_profile: Profile
    fps: float
    width: int
    config: Any
    frame_url: str


class TaskCreate(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /cameras/{id}/ai-tasks`. fps and width are clamped to 0.1..30 and 160..3840."""

    task_type: TaskType
    stream_profile: Profile | None = None
    fps: float | None = None
    width: int | None = None
    config: Any = None
    enabled: bool | None = None


class TaskPatch(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `PATCH /ai-tasks/{id}`: what is absent or null stays."""

    task_type: TaskType | None = None
    stream_profile: Profile | None = None
    fps: float | None = None
    width: int | None = None
    config: Any | UnsetType = UNSET
    enabled: bool | None = None
