"""What the application shares, typed. `app.py` fills it, handlers read it."""

from __future__ import annotations

from aiohttp import web

from heldard.auth.service import Access
from heldard.cameras.service import Cameras
from heldard.clock import Clock
from heldard.config import Settings
from heldard.db.database import Database
from heldard.erasure.service import Erasures
from heldard.events.service import Events
from heldard.fanout.actions import Actions
from heldard.fanout.service import Fanout
from heldard.frames.ring import FrameRings
from heldard.ingest.binding import Binder
from heldard.ingest.log import DetectionLog
from heldard.ingest.service import Ingest
from heldard.leases.service import Leases
from heldard.metrics import Meter
from heldard.plugins import Plugins
from heldard.retention.service import Retention
from heldard.store_watch import StoreWatch
from heldard.supervisor import Supervisor
from heldard.tasks.service import Tasks

SETTINGS = web.AppKey("settings", Settings)
CLOCK = web.AppKey("clock", Clock)
DB = web.AppKey("db", Database)
SUPERVISOR = web.AppKey("supervisor", Supervisor)
ACCESS = web.AppKey("access", Access)
CAMERAS = web.AppKey("cameras", Cameras)
TASKS = web.AppKey("tasks", Tasks)
LEASES = web.AppKey("leases", Leases)
FRAMES = web.AppKey("frames", FrameRings)
BINDER = web.AppKey("binder", Binder)
INGEST = web.AppKey("ingest", Ingest)
LOG = web.AppKey("log", DetectionLog)
FANOUT = web.AppKey("fanout", Fanout)
ACTIONS = web.AppKey("actions", Actions)
ERASURES = web.AppKey("erasures", Erasures)
EVENTS = web.AppKey("events", Events)
PLUGINS = web.AppKey("plugins", Plugins)
METER = web.AppKey("meter", Meter)
STORE_WATCH = web.AppKey("store_watch", StoreWatch)
RETENTION = web.AppKey("retention", Retention)
