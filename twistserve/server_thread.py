"""Threads of the server's own, on which no code of the project's is to be debugged."""

from __future__ import annotations

import threading


class ServerThread(threading.Thread):
    """A thread that runs on while a debugger holds the others at a breakpoint, so that probes, log and signals go on.

    No breakpoint is hit in it. pydevd, which debugpy and PyCharm use, documents the attribute in its warning of an
    evaluation that does not finish.
    """

    pydev_do_not_trace = True
