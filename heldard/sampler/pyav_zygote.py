"""A process that imports PyAV once and is forked for each stream, so that all of them share those pages.

Run by `heldard.sampler.pyav`. Over a SEQPACKET socket it is sent jobs with five descriptors (standard output, error,
reports, control), and tells of each child's start and end. Its children die with it, and it with the daemon.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

import av

from heldard.sampler import pyav_decode

PR_SET_PDEATHSIG = 1
MAX_MESSAGE = 65536
DESCRIPTORS = 4


def serve(descriptor: int) -> None:
    """Fork on request, until the other end is closed."""
    av.logging.set_level(None)
    channel = socket.socket(fileno=descriptor)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(wake_write)
    numbers: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        gc.collect()
        gc.freeze()
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wake_read in ready:
                os.read(wake_read, 4096)
                _reap(channel, numbers)
            if channel in ready and not _take_job(channel, numbers):
                return


def _take_job(channel: socket.socket, numbers: dict[int, int]) -> bool:
    message, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, DESCRIPTORS)
    if not message:
        return False
    job = json.loads(message)
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_decoder(job, descriptors, zygote)
    for descriptor in descriptors:
        os.close(descriptor)
    numbers[pid] = job["number"]
    _tell(channel, {"number": job["number"], "pid": pid})
    return True


def _reap(channel: socket.socket, numbers: dict[int, int]) -> None:
    while numbers:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        code, cpu_s = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        _tell(channel, {"number": numbers.pop(pid), "code": code, "cpu_s": cpu_s})


def _tell(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.send(json.dumps(message).encode())


def _become_decoder(job: dict[str, Any], descriptors: list[int], zygote: int) -> None:
    """In the child: put the descriptors in their places, close all others, decode, end."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _leave)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == zygote:
            os.setpgid(0, 0)
            high = [os.dup2(descriptor, 100 + place) for place, descriptor in enumerate(descriptors)]
            for place, descriptor in enumerate(high, start=1):
                os.dup2(descriptor, place)
            os.closerange(len(high) + 1, 1024)
            os.set_blocking(pyav_decode.CONTROL_FD, False)
            code = pyav_decode.run(job)
    except SystemExit:
        code = 0
    finally:
        os._exit(code)


def _leave(*_: object) -> None:
    """Asked to end: unwind, so that the session with the camera is closed in form."""
    sys.exit(0)
