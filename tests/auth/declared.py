"""Every route and who may use it, written down apart from the code: what the matrix test compares with.

A route is `(capability, reach)`. Reach says what a credential with a camera scope gets:

- open: no credential is looked at. own: any valid credential, about itself.
- camera: the path names a camera: inside the scope served, outside 403 whether it exists or not.
- filtered: served, with what lies outside the scope left out.
- thing: the path names something of a camera: 403 for what is outside the scope or missing alike.
- box: 403; the whole box is nobody's with a scope.
"""

from __future__ import annotations

KERNEL = {
    "GET /": (None, "open"),
    "GET /page.js": (None, "open"),
    "GET /page.css": (None, "open"),
    "GET /healthz": (None, "open"),
    "GET /readyz": (None, "open"),
    "GET /api/v1/site": ("system:read", "filtered"),
    "GET /api/v1/system": ("system:read", "filtered"),
    "GET /api/v1/openapi.json": (None, "open"),
    "GET /api/v1/system/db": ("system:read", "filtered"),
    "GET /metrics": ("system:read", "box"),
    "GET /api/v1/plugins": ("system:read", "filtered"),
    "GET /api/v1/plugins/{name}": ("system:read", "filtered"),
    "POST /api/v1/auth/login": (None, "open"),
    "POST /api/v1/auth/logout": (None, "open"),
    "GET /api/v1/auth/me": ("signed_in", "own"),
    "GET /api/v1/users": ("admin", "box"),
    "POST /api/v1/users": ("admin", "box"),
    "PATCH /api/v1/users/{user_id}": ("admin", "box"),
    "DELETE /api/v1/users/{user_id}": ("admin", "box"),
    "POST /api/v1/users/{user_id}/unlock": ("admin", "box"),
    "GET /api/v1/api-keys": ("admin", "box"),
    "POST /api/v1/api-keys": ("admin", "box"),
    "PATCH /api/v1/api-keys/{key_id}": ("admin", "box"),
    "DELETE /api/v1/api-keys/{key_id}": ("admin", "box"),
    "GET /api/v1/audit": ("registry:manage", "filtered"),
    "GET /api/v1/cameras": ("camera:read", "filtered"),
    "GET /api/v1/cameras/{camera_id}": ("camera:read", "camera"),
    "POST /api/v1/cameras": ("registry:manage", "box"),
    "PATCH /api/v1/cameras/{camera_id}": ("registry:manage", "camera"),
    "DELETE /api/v1/cameras/{camera_id}": ("admin", "camera"),
    "GET /api/v1/cameras/{camera_id}/ai-tasks": ("ai:tasks", "camera"),
    "POST /api/v1/cameras/{camera_id}/ai-tasks": ("registry:manage", "camera"),
    "PATCH /api/v1/ai-tasks/{task_id}": ("registry:manage", "thing"),
    "DELETE /api/v1/ai-tasks/{task_id}": ("registry:manage", "thing"),
    "POST /api/v1/ai/leases": ("ai:tasks", "filtered"),
    "GET /api/v1/ai/leases": ("ai:tasks", "filtered"),
    "DELETE /api/v1/ai/leases/{lease_id}": ("ai:tasks", "filtered"),
    "GET /api/v1/ai/tasks": ("ai:tasks", "filtered"),
    "GET /api/v1/ai/samplers": ("ai:tasks", "filtered"),
    "GET /api/v1/cameras/{camera_id}/frame": ("ai:frames", "camera"),
    "GET /api/v1/cameras/{camera_id}/stream": ("ai:frames", "camera"),
    "GET /media/snapshots/{name}": ("video:playback", "thing"),
    "POST /api/v1/ai/events": ("ai:ingest", "filtered"),
    "GET /api/v1/cameras/{camera_id}/detections": ("events:read", "camera"),
    "GET /api/v1/outbox": ("admin", "box"),
    "GET /api/v1/consumers": ("system:read", "filtered"),
    "GET /api/v1/consumers/{name}/parked": ("system:read", "filtered"),
    "POST /api/v1/consumers/{name}/redrive": ("registry:manage", "box"),
    "POST /api/v1/consumers/{name}/resume": ("registry:manage", "box"),
    "GET /api/v1/events": ("events:read", "filtered"),
    "GET /api/v1/events/types": ("events:read", "filtered"),
    "GET /api/v1/events/stream": ("events:read", "filtered"),
    "GET /api/v1/webhooks": ("events:read", "box"),
    "POST /api/v1/webhooks": ("registry:manage", "box"),
    "PATCH /api/v1/webhooks/{webhook_id}": ("registry:manage", "box"),
    "DELETE /api/v1/webhooks/{webhook_id}": ("registry:manage", "box"),
    "POST /api/v1/webhooks/{webhook_id}/test": ("registry:manage", "box"),
    "GET /api/v1/webhooks/{webhook_id}/deliveries": ("events:read", "box"),
    "POST /api/v1/webhooks/{webhook_id}/resend": ("registry:manage", "box"),
}

ZONES = {
    "GET /api/v1/cameras/{camera_id}/zones": ("events:read", "camera"),
    "POST /api/v1/cameras/{camera_id}/zones": ("registry:manage", "camera"),
    "PATCH /api/v1/zones/{zone_id}": ("registry:manage", "thing"),
    "DELETE /api/v1/zones/{zone_id}": ("registry:manage", "thing"),
    "GET /api/v1/cameras/{camera_id}/zone-events": ("events:read", "camera"),
    "GET /api/v1/cameras/{camera_id}/zone-events/aggregates": ("events:read", "camera"),
    "GET /api/v1/cameras/{camera_id}/zones/occupancy": ("events:read", "camera"),
    "GET /api/v1/cameras/{camera_id}/zones/occupancy/history": ("events:read", "camera"),
    "GET /api/v1/cameras/{camera_id}/zones/counts": ("events:read", "camera"),
    "GET /api/v1/cameras/{camera_id}/zones/stays": ("events:read", "camera"),
    "GET /api/v1/zone-events/{event_id}/evidence": ("events:read", "thing"),
    "GET /api/v1/zones/{zone_id}/why": ("events:read", "thing"),
    "POST /api/v1/cameras/{camera_id}/zones/backtest": ("events:read", "camera"),
    "POST /api/v1/cameras/{camera_id}/zones/import": ("registry:manage", "camera"),
}

PLUGINS = {"zones": ZONES}
"""By the name of the plugin's entry point."""
