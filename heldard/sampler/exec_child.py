"""Run as a script: becomes the program it is given, which then dies with the process that started it.

    exec_child.py PARENT_PID PROGRAM ARGUMENT...

Between fork and exec nothing of Python may run in a process with threads, so the parent-death signal is asked for here,
after the exec of this script and before that of the program, which keeps it (prctl(2), PR_SET_PDEATHSIG). It imports
only what starts fast.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
OOM_SCORE = b"500"  # a decoder is restarted; the daemon has the log to lose


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
    prefer_for_oom()
    os.execv(command[0], command)  # noqa: S606 - becoming another program is what this is for


def prefer_for_oom() -> None:
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return  # /proc is read-only in some containers; the decoder works all the same
    os.write(descriptor, OOM_SCORE)
    os.close(descriptor)


if __name__ == "__main__":
    main()
