"""A real RTSP server for tests: H.264 or H.265 test pictures over GStreamer's gst-rtsp-server.

Run with the system's Python (Debian packages: see conftest.py beside this); its first line of output is the port.
Commands come as lines on its standard input: `resize WIDTH HEIGHT` changes the pictures of all streams, running
ones without a new session.

Paths say what is wanted: /h264?w=320&h=240&fps=15&gop=15, /h265?..., and `n=45` to end after so many pictures.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any
from urllib.parse import parse_qs

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the version has to be chosen first

USER, PASSWORD = "watcher", "s3cret:pass"
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=300 bframes=0 key-int-max={gop}"
    " ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=300 key-int-max={gop}"
    " ! h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96",
}


class Factory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """Makes each client its own pipeline from the query of its address."""

    def __init__(self, codec: str) -> None:
        super().__init__()
        self.codec = codec
        self.size: tuple[str, str] | None = None
        self.sizes: list[Gst.Element] = []
        self.connect("media-configure", self.configured)

    def do_create_element(self, url: Any) -> Gst.Element:
        given = {key: values[0] for key, values in parse_qs(url.query or "").items()}
        fps, gop = int(given.get("fps", 15)), int(given.get("gop", 15))
        width, height = self.size or (given.get("w", 320), given.get("h", 240))
        launch = (
            f"( videotestsrc is-live=true pattern=ball num-buffers={given.get('n', -1)}"
            f" ! capsfilter name=size caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
            f" ! {ENCODERS[self.codec].format(gop=gop)} )"
        )
        return Gst.parse_launch(launch)

    def configured(self, _factory: Any, media: Any) -> None:
        self.sizes.append(media.get_element().get_by_name_recurse_up("size"))

    def do_gen_key(self, url: Any) -> str:
        return f"{url.abspath}?{url.query}"


def authenticate(server: GstRtspServer.RTSPServer, factories: list[Factory], method: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "watcher")
    if method == "basic":
        auth.set_supported_methods(1)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(USER, PASSWORD), token)
    else:
        auth.set_supported_methods(2)
        auth.add_digest(USER, PASSWORD, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for right in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("watcher", right, True)
    for factory in factories:
        factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--auth", choices=["none", "basic", "digest"], default="none")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factories = {codec: Factory(codec) for codec in ENCODERS}
    for codec, factory in factories.items():
        server.get_mount_points().add_factory(f"/{codec}", factory)
    if options.auth != "none":
        authenticate(server, list(factories.values()), options.auth)
    if server.attach(None) == 0:
        sys.exit(f"port {options.port} cannot be bound")
    print(server.get_bound_port(), flush=True)
    loop = GLib.MainLoop()

    def command(_channel: Any, _condition: Any) -> bool:
        words = sys.stdin.readline().split()
        if not words:
            loop.quit()
            return False
        if words[0] == "resize":
            caps = Gst.Caps.from_string(f"video/x-raw,format=I420,width={words[1]},height={words[2]},framerate=15/1")
            for factory in factories.values():
                factory.size = (words[1], words[2])
                for size in factory.sizes:
                    size.set_property("caps", caps)
        return True

    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, command)
    loop.run()


if __name__ == "__main__":
    main()
