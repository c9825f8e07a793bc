"""The server's own threads."""

from __future__ import annotations

import threading

from twistserve.server_thread import ServerThread


def test_a_debugger_leaves_it_alone() -> None:
    """It has the attribute that pydevd looks for, and else is a thread as any other."""
    ran = threading.Event()
    thread = ServerThread(target=ran.set, name="reactor", daemon=True)
    thread.start()
    thread.join()
    assert (thread.pydev_do_not_trace, thread.name, thread.daemon, ran.is_set()) == (True, "reactor", True, True)
