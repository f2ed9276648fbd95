"""The tasks in memory and in the database. A change pokes whoever watches; nobody waits for ffmpeg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from heldard import ids
from heldard.cameras.model import Camera
from heldard.cameras.service import Cameras
from heldard.clock import Clock, rfc3339
from heldard.errors import InvalidError, NotFoundError
from heldard.tasks.model import FPS_RANGE, WIDTH_RANGE, Task, TaskCreate, TaskPatch, TaskView, WorkerTask
from heldard.tasks.store import TaskStore

MAX_TASKS_PER_CAMERA = 32


class Tasks:
    """Add, change, remove, look up."""

    def __init__(
        self, store: TaskStore, cameras: Cameras, clock: Clock, default_fps: float, default_width: int
    ) -> None:
        self._store = store
        self._cameras = cameras
        self._clock = clock
        self._default_fps = default_fps
        self._default_width = default_width
        self._by_id: dict[str, Task] = {}
        self.watchers: list[Callable[[], None]] = []

    async def load(self) -> None:
        self._by_id = {task.id: task for task in await self._store.all()}

    def find(self, task_id: str) -> Task | None:
        return self._by_id.get(task_id)

    def get(self, task_id: str) -> Task:
        """Raises NotFoundError."""
        task = self._by_id.get(task_id)
        if task is None:
            raise NotFoundError(f"no AI task {task_id!r}", code="task_not_found")
        return task

    def of_camera(self, camera_id: str) -> list[Task]:
        return [task for task in self._by_id.values() if task.camera_id == camera_id]

    def active(self) -> list[tuple[Task, Camera]]:
        """Enabled tasks of enabled cameras, by task id."""
        pairs = ((task, self._cameras.get(task.camera_id)) for _, task in sorted(self._by_id.items()))
        return [(task, camera) for task, camera in pairs if task.enabled and camera.enabled]

    async def add(self, camera_id: str, body: TaskCreate) -> tuple[Task, bool]:
        """The task and whether it is new: a taken slot (camera, type, profile) gives the one that has it."""
        self._cameras.get(camera_id)
        task_type = _not_blank(body.task_type)
        profile = body.stream_profile or "sub"
        if len(self.of_camera(camera_id)) >= MAX_TASKS_PER_CAMERA:
            raise InvalidError(
                f"camera {camera_id!r} has {MAX_TASKS_PER_CAMERA} tasks, the limit", code="too_many_tasks"
            )
        now = self._clock.now_ms()
        task = Task(
            id=ids.new("ai"),
            camera_id=camera_id,
            task_type=task_type,
            enabled=body.enabled is not False,
            stream_profile=profile,
            fps=_clamp(body.fps if body.fps is not None else self._default_fps, FPS_RANGE),
            width=int(_clamp(body.width if body.width is not None else self._default_width, WIDTH_RANGE)),
            config={} if body.config is None else body.config,
            created_ms=now,
            updated_ms=now,
        )
        if not await self._store.insert(task):
            return self._in_slot(camera_id, task_type, profile), False
        self._by_id[task.id] = task
        self.poke()
        return task, True

    async def change(self, task_id: str, body: TaskPatch) -> Task:
        given: dict[str, Any] = {
            key: value
            for key, value in msgspec.structs.asdict(body).items()
            if value is not None and value is not UNSET
        }
        if body.config is None:
            given["config"] = {}
        if "task_type" in given:
            given["task_type"] = _not_blank(given["task_type"])
        if "fps" in given:
            given["fps"] = _clamp(given["fps"], FPS_RANGE)
        if "width" in given:
            given["width"] = int(_clamp(given["width"], WIDTH_RANGE))
        task = msgspec.structs.replace(self.get(task_id), **given, updated_ms=self._clock.now_ms())
        await self._store.update(task)
        self._by_id[task_id] = task
        self.poke()
        return task

    async def remove(self, task_id: str) -> None:
        self.get(task_id)
        await self._store.delete(task_id)
        self._by_id.pop(task_id, None)
        self.poke()

    def camera_removed(self, camera_id: str) -> None:
        """Forget a deleted camera's tasks; the database has done so itself."""
        self._by_id = {key: task for key, task in self._by_id.items() if task.camera_id != camera_id}
        self.poke()

    def poke(self) -> None:
        for watcher in self.watchers:
            watcher()

    def _in_slot(self, camera_id: str, task_type: str, profile: str) -> Task:
        for task in self.of_camera(camera_id):
            if (task.task_type, task.stream_profile) == (task_type, profile):
                return task
        raise NotFoundError("the task was deleted while it was asked for: try again", code="task_not_found")


def view(task: Task) -> TaskView:
    return TaskView(
        id=task.id,
        camera_id=task.camera_id,
        task_type=task.task_type,
        enabled=task.enabled,
        stream_profile=task.stream_profile,
        fps=task.fps,
        width=task.width,
        config=task.config,
        created_at=rfc3339(task.created_ms),
        updated_at=rfc3339(task.updated_ms),
    )


def worker_view(task: Task) -> WorkerTask:
    return WorkerTask(
        id=task.id,
        camera_id=task.camera_id,
        task_type=task.task_type,
        stream_profile=task.stream_profile,
        fps=task.fps,
        width=task.width,
        config=task.config,
        frame_url=f"/api/v1/cameras/{task.camera_id}/frame?profile={task.stream_profile}&task={task.id}",
    )


def _not_blank(task_type: str) -> str:
    if not task_type.strip():
        raise InvalidError("task_type: must not be blank")
    return task_type


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(bounds[1], max(bounds[0], value))
