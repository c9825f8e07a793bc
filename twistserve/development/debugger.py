"""Listens for a debugger: a client of the Debug Adapter Protocol, such as VS Code or PyCharm.

debugpy does the debugging. It starts a process of its own, the adapter, which listens at the port and passes on what
the client says. The adapter outlives us while a client stays connected to it, and has the port until then.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import importlib.util
import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from twistserve.development.adapter import Adapter, find_adapter
from twistserve.development.port_holder import find_holder
from twistserve.errors import StartError, describe
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.net.reactor import Reactor
from twistserve.options import Configuration
from twistserve.project.startup import Step
from twistserve.server_thread import ServerThread

logger = get_logger(__name__)

PATIENCE = 5.0
"""Seconds for which a port that is taken is tried again."""
EVERY = 0.1
"""Seconds between two tries."""
POLITE = 1.0
"""Seconds that a client has to leave when it is told that debugging is over."""
LEAVE = 0.5
"""Seconds that the adapter has then to end."""
END = 3.0
"""Seconds that the end of the process waits for the end of debugging."""


class Tool(Protocol):
    """What debugs: debugpy."""

    def listen(self, host: str, port: int) -> None:
        """Listen for a client. Blocks; raises RuntimeError where that cannot be."""

    def end(self) -> None:
        """Tell the client that debugging is over, and have threads at a breakpoint go on. Blocks for a second or so."""


class Debugpy:
    """debugpy, imported only when it is to listen: the import takes 0.2 s and changes threading for the process."""

    def __init__(self) -> None:
        """Raises `StartError` if it is not installed."""
        if importlib.util.find_spec("debugpy") is None:
            raise StartError("--debugger: debugpy is not installed: pip install 'twistserve[debug]'")

    def listen(self, host: str, port: int) -> None:
        """See `Tool`."""
        # Else it warns of Python's frozen modules, which need no breakpoints.
        os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        debugpy = importlib.import_module("debugpy")
        # What the application starts or forks would wait for a client that attaches to it too, and for ever where the
        # client is none that does so, as VS Code is.
        debugpy.configure(subProcess=False)
        debugpy.listen((host, port))
        # A forked child has no thread of debugpy's that would let it go on from a breakpoint.
        os.register_at_fork(after_in_child=partial(debugpy.trace_this_thread, False))

    def end(self) -> None:
        """See `Tool`. debugpy has no function for it; its own end is this one of pydevd's, by atexit."""
        stop = importlib.import_module("pydevd").stoptrace
        # Once more would wait once more.
        atexit.unregister(stop)
        stop()


class DebuggerService(Service):
    """Listens from the first step of the start-up until the drain begins.

    A drain ends debugging: a view that stands at a breakpoint goes on, so that it holds up neither the end nor a
    reload, and the port is free for the next process.
    """

    name = "debugger"

    def __init__(
        self,
        configuration: Configuration,
        lifecycle: Lifecycle,
        reactor: Any,
        *,
        make_tool: Callable[[], Tool] = Debugpy,
        find: Callable[[int], Adapter | None] = find_adapter,
    ) -> None:
        """Raises `StartError` if debugpy is not installed."""
        self._host, self._port = configuration.debugger_host, configuration.debugger_port
        self._tool = make_tool()
        self._find = find
        self._lifecycle = lifecycle
        self._reactor = reactor
        self._untimed = configuration.request_timeout
        self._over = threading.Event()
        self.pause: Callable[[float], bool] = self._over.wait
        """Waits so many seconds; whether debugging is over."""
        self._tried = threading.Event()
        self._problem: StartError | None = None
        self._listening = threading.Lock()
        """Held while it is tried to listen."""
        self._adapter: Adapter | None = None
        self._listens = False
        self._ended: Deferred[None] = Deferred()
        self.steps: list[Step] = [("listening for a debugger", self._open)]
        """What comes before anything that one may want to debug."""
        lifecycle.observe(self._changed)

    def stopService(self) -> Deferred[None]:
        """Wait for the end of debugging, which the drain has begun."""
        super().stopService()
        return self._lifecycle.wait(self._ended, END)

    # The start

    def _open(self) -> None:
        """Try once, and go on without if the port is taken: another thread tries again. Raises `StartError`."""
        if not is_loopback(self._host):
            logger.warning(
                "--debugger-host: whoever reaches %s can run code in this process: let nobody but you reach it",
                self._address,
            )
        if self._untimed:
            logger.warning("--request-timeout has no effect with --debugger: a view may stand at a breakpoint")
        if not isinstance(self._reactor, Reactor):
            # Any other runs in the main thread, which serves the probes and is to go on.
            threading.main_thread().pydev_do_not_trace = True  # type: ignore[attr-defined]
        # In a thread of its own: the end of the reactor interrupts the step, and not what starts a process.
        ServerThread(target=self.listen, name="debugger", daemon=True).start()
        self._tried.wait()
        if self._problem is not None:
            raise self._problem

    def listen(self) -> None:
        """Listen; try again while the port is taken. Blocks; any thread but the reactor's."""
        try:
            for _ in range(round(PATIENCE / EVERY)):
                if self._try():
                    return
                self._tried.set()
                if self.pause(EVERY):
                    return
            logger.warning("%s", self._not_free())
        except OSError as error:
            text = error.strerror or describe(error)
            self._problem = StartError(f"--debugger-host: cannot listen on {self._address}: {text}")
            logger.debug("%s", self._problem)
        except Exception as error:
            logger.debug("debugpy", exc_info=True)
            logger.warning("--debugger: serving without a debugger: debugpy cannot listen: %s", describe(error))
        finally:
            self._tried.set()

    def _try(self) -> bool:
        """Whether there is nothing left to try. Raises OSError where the address is none of this machine's."""
        with self._listening:
            if self._over.is_set():
                return True
            if not is_free(self._host, self._port):
                return False
            self._tool.listen(self._host, self._port)
            self._listens = True
            self._adapter = self._find(self._port)
        logger.info("a debugger can attach to %s (Debug Adapter Protocol)", self._address)
        return True

    def _not_free(self) -> str:
        holder = find_holder(self._port)
        if holder is not None and holder.is_adapter:
            by = f"the adapter of another debugpy, process {holder.pid}"
            remedy = "disconnect the debugger that is attached there, end the server that it debugs"
        else:
            by = "another user's process" if holder is None else f"process {holder.pid} ({holder.name})"
            remedy = "end it"
        return (
            f"--debugger-port: {self._address} has been taken for {PATIENCE:g} s by {by}: serving without a debugger;"
            f" {remedy} or give another port, and start again"
        )

    @property
    def _address(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    # The end

    def _changed(self, state: State, reason: str) -> None:
        if state is State.DRAINING:
            self._over.set()
            ServerThread(target=self.end, name="debugger's end", daemon=True).start()

    def end(self) -> None:
        """End debugging, and the adapter, whose client may not leave. Blocks; any thread but the reactor's."""
        try:
            with self._listening:
                listens, adapter = self._listens, self._adapter
            if listens:
                # It waits for half a second for threads of pydevd's, whether or not it needs to.
                ending = ServerThread(target=self._tool.end, name="debugger's last", daemon=True)
                ending.start()
                if adapter is None:
                    ending.join()
            if adapter is not None:
                if not adapter.wait(POLITE):
                    logger.info("the debugger's client has not left: its connection is closed")
                    adapter.end()
                    adapter.wait(LEAVE)
                adapter.close()
        except Exception:
            logger.exception("debugging did not end cleanly")
        finally:
            self._reactor.callFromThread(self._ended.callback, None)


def is_free(host: str, port: int) -> bool:
    """Whether one can listen there. Raises OSError for what is wrong with the address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        # As debugpy does it: connections that have ended do not count.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
            tried.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; of names, localhost alone is believed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
