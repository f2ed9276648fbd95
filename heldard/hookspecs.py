"""The whole plugin contract: which functions a plugin may have, when each is called and what its answer means.

The prefix tells the kind. `heldard_register_*` is asked once at start; if it raises or gives something else than it
says, the whole plugin is refused with the reason. `heldard_on_*` is told after the commit, one plugin after the other,
5 s at most each; its answer is ignored, and what it raises is noted with its plugin and reaches nobody else.
`heldard_decide_*` is asked synchronously in the order `plugins.order` gives (then by name); None means "no opinion"
and the first other answer wins; after 20 answers in a row that failed or took over 50 ms it is not asked any more.
A hook takes those of the arguments it needs, by name. The order in which plugins are found never matters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

import click
import msgspec
import pluggy

from heldard.plugin import (
    ActionHandler,
    Batch,
    CameraInfo,
    Consumer,
    Endpoint,
    Eraser,
    EventDraft,
    EventType,
    Migrations,
    PluginContext,
    PluginInfo,
    Service,
    Severity,
)

hookspec = pluggy.HookspecMarker("heldard")


@hookspec
def heldard_register_plugin() -> PluginInfo:
    """Who the plugin is. Required; asked before anything else, so it must not need the kernel."""
    raise NotImplementedError


@hookspec
def heldard_register_settings() -> type[msgspec.Struct]:
    """The struct of the section `[plugins.<name>]`. Each field has a default and, with msgspec.Meta, a description."""
    raise NotImplementedError


@hookspec
def heldard_register_migrations() -> Migrations:
    """The plugin's own tables. Applied before consumers are asked for."""
    raise NotImplementedError


@hookspec
def heldard_register_event_types() -> Sequence[EventType]:
    """Every type of event the plugin raises. Raising another one fails the batch."""
    raise NotImplementedError


@hookspec
def heldard_register_consumers(ctx: PluginContext) -> Sequence[Consumer]:
    """The consumers to drive from the log."""
    raise NotImplementedError


@hookspec
def heldard_register_routes(ctx: PluginContext) -> Sequence[Endpoint]:
    """HTTP endpoints below `/api/v1/`, made with `route`; authorised and documented like the kernel's."""
    raise NotImplementedError


@hookspec
def heldard_register_actions(ctx: PluginContext) -> Sequence[ActionHandler]:
    """What carries out the actions its consumers ask for with `Effects.act`."""
    raise NotImplementedError


@hookspec
def heldard_register_erasers(ctx: PluginContext) -> Sequence[Eraser]:
    """What can erase a subject, asked for with `PluginContext.erase`. Since 1.1."""
    raise NotImplementedError


@hookspec
def heldard_register_services(ctx: PluginContext) -> Sequence[Service]:
    """Background work for as long as the daemon runs."""
    raise NotImplementedError


@hookspec
def heldard_register_commands() -> Sequence[click.Command]:
    """Commands added under `heldard`, usually one group named like the plugin. Asked by the command line only."""
    raise NotImplementedError


@hookspec
def heldard_on_start(ctx: PluginContext) -> Awaitable[None] | None:
    """The daemon is about to listen; consumers are restored."""


@hookspec
def heldard_on_stop(ctx: PluginContext) -> Awaitable[None] | None:
    """The daemon has stopped listening and driving; the database is still open."""


@hookspec
def heldard_on_batch(batch: Batch) -> Awaitable[None] | None:
    """A batch was committed. For watching; a plugin whose work matters is a consumer.

    Batches and events wait for a plugin in a queue of 1024; what comes on top of that is dropped and counted.
    """


@hookspec
def heldard_on_event(event: EventDraft) -> Awaitable[None] | None:
    """An event was committed. Queued like batches."""


@hookspec
def heldard_on_camera_changed(camera: CameraInfo) -> Awaitable[None] | None:
    """A camera was added or edited."""


@hookspec
def heldard_on_camera_deleted(camera_id: str) -> Awaitable[None] | None:
    """A camera was deleted. Rows of the plugin that belong to it should go."""


@hookspec(firstresult=True)
def heldard_decide_severity(event_type: str, camera_id: str | None, severity: Severity) -> Severity | None:
    """The severity an event shall have. Asked for each event before it is written."""
