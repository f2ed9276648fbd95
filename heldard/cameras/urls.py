"""Where a camera's streams are, and how to speak of them without their passwords."""

from __future__ import annotations

import re
from urllib.parse import quote

from heldard.cameras.model import Camera, Profile

_USER_INFO = re.compile(r"(?<=://)[^/\s]*@")


def stream_url(camera: Camera, profile: Profile) -> str | None:
    """A profile's URL: the one given, else the vendor's known path, else the recorded stream's; None without any."""
    given = camera.main_stream_url if profile == "main" else camera.sub_stream_url
    if given:
        return given
    return _vendor_url(camera, profile) or (
        stream_url(camera, camera.record_stream) if profile != camera.record_stream else None
    )


def _vendor_url(camera: Camera, profile: Profile) -> str | None:
    if not camera.address:
        return None
    if camera.vendor == "hikvision":
        path = f"/Streaming/Channels/{'101' if profile == 'main' else '102'}"
    elif camera.vendor == "dahua":
        path = f"/cam/realmonitor?channel=1&subtype={'0' if profile == 'main' else '1'}"
    else:
        return None
    return f"rtsp://{_user_info(camera)}{camera.address}:{camera.rtsp_port}{path}"


def _user_info(camera: Camera) -> str:
    if not camera.username:
        return ""
    password = f":{quote(camera.password, safe='')}" if camera.password else ""
    return f"{quote(camera.username, safe='')}{password}@"


def mask(text: str) -> str:
    """The text with the user part of every URL in it as `***`."""
    return _USER_INFO.sub("***@", text)
