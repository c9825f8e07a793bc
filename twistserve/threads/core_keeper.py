"""Keeps the threads on one core while `OneCore` says so: --cpu-affinity auto."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service

from twistserve.logs import get_logger
from twistserve.threads.affinity import OneCore
from twistserve.threads.affinity_hooks import AffinityHooks
from twistserve.threads.concurrency import EXPLORING, Use
from twistserve.threads.cores import AffinityChanged, Cores
from twistserve.threads.pool import RequestThreadPool

logger = get_logger(__name__)

LOOK_EVERY = 0.1
"""Seconds between two checks while threads are on one core: for threads started by C code, for changes from outside,
and for the end of the load, after which nothing else may wake the reactor."""
REFRESH_EVERY = 1.0
"""Seconds between two checks of the cores that the process may use, while it is not kept on one."""

LEAST = 0.001
"""Seconds; request threads that run for less than that in a window are idle."""


def core_keeper(pool: RequestThreadPool, reactor: Any, on_change: Callable[[], None]) -> CoreKeeper:
    """Make the keeper of a pool's threads and the reactor's, with its hooks."""
    cores = Cores(lambda: pool.workers)
    keeper = CoreKeeper(pool, cores, reactor, on_change)
    keeper.hooks = AffinityHooks(cores, keeper.give_up)
    return keeper


class Policy(Protocol):
    """Decides when to keep threads on one core."""

    def decide(self, now: float, use: Use, exploring: bool) -> bool:
        """Called after each window: whether to be on one core in the next."""

    def let_go(self) -> None:
        """The core was let go for another reason, or could not be taken."""


class Hooks(Protocol):
    """Hide affinities from the rest of the process."""

    def install(self) -> None:
        """Begin."""

    def uninstall(self) -> None:
        """End."""


class CoreKeeper(Service):
    """Carries out the policy; calls `on_change` each time it takes or lets go of a core. Reactor thread."""

    name = "core keeper"

    hooks: Hooks | None = None

    def __init__(
        self,
        pool: RequestThreadPool,
        cores: Cores,
        reactor: Any,
        on_change: Callable[[], None],
        policy: Policy | None = None,
    ) -> None:
        self.held = False
        """Whether threads are kept on one core."""
        self._pool = pool
        self._cores = cores
        self._reactor = reactor
        self._on_change = on_change
        self._policy = policy or OneCore()
        self._given_up = False
        self._timer: Any = None
        self._refreshed_at = 0.0
        self._free_windows = EXPLORING

    @property
    def kept(self) -> bool:
        """Whether threads are on one core, or were a moment ago: the kernel takes some time to move them."""
        return self.held or self._free_windows < EXPLORING

    @property
    def core(self) -> int | None:
        """The core that threads are kept on, if they are."""
        return self._cores.core

    def startService(self) -> None:
        """Begin, before the application starts threads."""
        super().startService()
        if self.hooks is not None:
            self.hooks.install()

    def stopService(self) -> None:
        """Let threads go for good."""
        super().stopService()
        self._given_up = True
        self._let_go()
        if self.hooks is not None:
            self.hooks.uninstall()

    def on_window(self, now: float, use: Use, exploring: bool) -> None:
        """Called after each window."""
        self._free_windows += 1
        if self._given_up:
            return
        # Other threads' use, such as that of the start-up, does not count.
        idle = sum(worker.ran for worker in self._pool.workers) < LEAST
        wanted = self._policy.decide(now, Use(0.0) if idle else use, exploring)
        if self.held and not wanted:
            self._let_go()
        elif self.held:
            self._attempt(self._cores.keep)
        elif wanted:
            self._attempt(self._take)
        elif now - self._refreshed_at >= REFRESH_EVERY:
            self._refreshed_at = now
            self._attempt(self._cores.refresh)

    def give_up(self, reason: str) -> None:
        """Let threads go for good, and log the reason. Callable from any thread."""
        if not self._given_up:
            self._given_up = True
            logger.warning("--cpu-affinity auto has no effect from now on: %s", reason)
        self._cores.end()

    def _take(self) -> None:
        busiest = max(self._pool.workers, key=lambda worker: worker.ran, default=None)
        if busiest is None or not self._cores.take(busiest.native_id):
            self._policy.let_go()
            return
        self.held = True
        self._on_change()
        self._timer = self._reactor.callLater(LOOK_EVERY, self._look)

    def _let_go(self) -> None:
        self._cores.release()
        self._policy.let_go()
        if self.held:
            self.held = False
            self._free_windows = 0
            self._on_change()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look(self) -> None:
        if self._given_up:
            self._let_go()
            return
        self._timer = self._reactor.callLater(LOOK_EVERY, self._look)
        self._attempt(self._check)

    def _check(self) -> None:
        if not self._cores.check():
            self._let_go()

    def _attempt(self, call: Callable[[], object]) -> None:
        """Make a call that gives up if the system forbids it, or if other code has set an affinity."""
        try:
            call()
        except AffinityChanged:
            self.give_up("something else has set the affinity of a request thread, and that stays")
        except OSError as error:
            self.give_up(f"the system does not let it set the affinity of its threads ({error})")
        if self.held and self._cores.core is None:
            self._let_go()
