"""Where pictures come from: which addresses are allowed, and how they are shown to people."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from heldard.errors import InvalidError
from heldard.sampler.settings import SamplerSettings

NETWORK_SCHEMES = ("rtsp", "rtsps", "http", "https")
MAX_URL = 2048

_CONTROL = re.compile(r"[\x00-\x20\x7f]")
# Up to the last @: a password may hold a slash or an @ that should have been encoded. Rather too much than too little.
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s'\"]*@", re.IGNORECASE)
_SENSITIVE = (
    "pass|passwd|password|pwd|token|secret|auth|key|apikey|api_key|access_token|sig|signature|user|username|usr"
)
_PARAMETER = re.compile(rf"([?&;](?:{_SENSITIVE})=)[^&#;\s]*", re.IGNORECASE)


class Source(msgspec.Struct, frozen=True):
    """An address that may be opened.

    url: what the decoder is given. scheme: one of rtsp, rtsps, http, https, file. loop: start a file over at its end.
    """

    url: str
    scheme: str
    loop: bool = False

    @property
    def is_file(self) -> bool:
        return self.scheme == "file"


def check_source(url: str, settings: SamplerSettings) -> None:
    """Raise InvalidError (code `bad_source`) when a camera may not have this address. Opens nothing."""
    resolve(url, settings)


def resolve(url: str, settings: SamplerSettings) -> Source:
    """The source an address stands for. Raises InvalidError as `check_source` does.

    `file:clip.mp4`, `file:folder/clip.mp4` and `file:///<media_dir>/clip.mp4` are files below `sampler.media_dir`,
    links followed; a file plays in real time and starts over at its end unless `?loop=0` is added.
    """
    if len(url) > MAX_URL:
        raise _bad(f"the address is longer than {MAX_URL} characters")
    if _CONTROL.search(url):
        raise _bad("the address has blanks or control characters in it: percent-encode them")
    scheme, colon, _ = url.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "file":
        return _file(url, settings)
    if not colon or scheme not in NETWORK_SCHEMES:
        raise _bad(f"an address begins with one of {', '.join(NETWORK_SCHEMES)} or file, not {scheme[:20]!r}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _bad(f"the address cannot be read: {error}") from None
    if not host or not url[len(scheme) :].startswith("://"):
        raise _bad(f"the address names no host: {scheme}://host[:port]/path")
    return Source(scheme + url[len(scheme) :], scheme)


def mask(text: str) -> str:
    """The text with the names, passwords and tokens of any addresses in it replaced by `***`."""
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", text))


def _file(url: str, settings: SamplerSettings) -> Source:
    if not settings.media_dir:
        raise _bad("file sources are off: set sampler.media_dir to the folder they may come from")
    name, _, query = url[len("file:") :].partition("?")
    name = unquote(name.removeprefix("//") if name.startswith("///") else name)
    options = dict(parse_qsl(query))
    if options.keys() - {"loop"} or options.get("loop", "1") not in {"0", "1"}:
        raise _bad("a file address takes only the option loop=0 or loop=1")
    if "\0" in name or name.startswith("//"):
        raise _bad("a file address is file:name or file:///path")
    folder = Path(settings.media_dir).resolve()
    path = (folder / name).resolve()
    if path == folder or not path.is_relative_to(folder):
        raise _bad("the file is not below sampler.media_dir")
    return Source(str(path), "file", loop=options.get("loop", "1") == "1")


def _bad(message: str) -> InvalidError:
    return InvalidError(message, code="bad_source")
