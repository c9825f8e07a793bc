"""The process that debugpy starts to talk to its clients: it outlives the server for as long as a client stays."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

from twistserve.development.port_holder import find_holder


class Adapter:
    """One that listens at a port. It is not our child: debugpy has it fork away from us.

    A descriptor stands for it (pidfd_open(2)), so that no other process is meant once it has ended.
    """

    def __init__(self, pid: int) -> None:
        """Raises OSError if there is no such process."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def wait(self, seconds: float) -> bool:
        """Wait so long for it to end; whether it has."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def end(self) -> None:
        """End it, and with it the connection of its client."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def find_adapter(port: int) -> Adapter | None:
    """The adapter that listens at the port; None where the kernel does not tell. Blocks for a moment."""
    holder = find_holder(port)
    with suppress(OSError):
        return Adapter(holder.pid) if holder is not None and holder.is_adapter else None
    return None
