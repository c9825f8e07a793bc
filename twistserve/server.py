"""What answers requests in one process: the application on its threads, the files, the web port."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service

from twistserve.development.server_timing import TimedCall
from twistserve.errors import StartError
from twistserve.files.cache import MemoryCache
from twistserve.files.file_threads import FileThreads
from twistserve.files.handler import FileHandler
from twistserve.files.index import MediaIndex, StaticIndex, check_urls, file_indexes
from twistserve.files.renewal import Renewal
from twistserve.http.access_log import AccessLog
from twistserve.http.deadlines import Deadlines
from twistserve.http.limits import Limits
from twistserve.http.port import Drain, WebService
from twistserve.http.request import Request
from twistserve.http.router import MountRouter, Router, depth_of
from twistserve.http.site import Site
from twistserve.lifecycle import Lifecycle
from twistserve.load import Load
from twistserve.logs import get_logger
from twistserve.logs.containment import contain
from twistserve.logs.log import LogService
from twistserve.metrics import catalogue as metrics
from twistserve.metrics.reactor_lag import ReactorLagService
from twistserve.net.listeners import Listener
from twistserve.net.open_files import bound_connections
from twistserve.net.reactor import Reactor
from twistserve.options import Configuration
from twistserve.project.application import DjangoApplication
from twistserve.project.startup import Step
from twistserve.recycling import resident_memory
from twistserve.status.history import History
from twistserve.status.snapshot import load_of, worker_status
from twistserve.threads.concurrency import Concurrency
from twistserve.threads.dispatcher import Dispatcher
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.threads.stacks import log_all_stacks
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.forwarded import TrustedPeers
from twistserve.wsgi.handler import Call, DjangoHandler

if TYPE_CHECKING:
    from twistserve.probes.handlers import ProbeRoot
    from twistserve.probes.web_port import SharedSite
    from twistserve.resources.mounts import Mounts
    from twistserve.threads.core_keeper import CoreKeeper

logger = get_logger(__name__)


class Serving:
    """The parts, put together; raises `StartError` where the settings make serving impossible."""

    def __init__(
        self,
        configuration: Configuration,
        listeners: Sequence[Listener],
        lifecycle: Lifecycle,
        log: LogService,
        reactor: Any,
        tells: bool = True,
    ) -> None:
        """`tells` says whether it logs what one of several processes that serve the same needs to say."""
        self._log = log
        self._tells = tells
        self._call_from_thread = reactor.callFromThread
        self._application = DjangoApplication(configuration.wsgi)
        self._files = file_indexes(configuration)
        self.pool = RequestThreadPool(configuration.threads, configuration.max_queue)
        returns = ReactorQueue(reactor.callFromThread)
        self.observers: list[Service] = []
        """What only looks on: start it before the others."""
        counted = not (configuration.no_metrics or configuration.no_probe)
        metrics.views_counted = counted
        self._concurrency: Concurrency | None = None
        self._cores: CoreKeeper | None = None
        if isinstance(reactor, Reactor):
            self._dispatch(configuration, returns, counted, reactor)
        elif configuration.cpu_affinity == "auto" and tells:
            logger.warning("--cpu-affinity auto has no effect with another reactor: leave out --reactor, or this")
        # A view may stand at a breakpoint for as long as somebody looks at it.
        timed = configuration.request_timeout and not configuration.debugger
        self._deadlines = Deadlines(configuration.request_timeout, reactor) if timed else None
        self.django = self._make_handler(configuration, returns)
        self._resources: Mounts | None = None
        """What --mount puts beside Django."""
        self._root = self._make_root(configuration, reactor)
        self._mounted: dict[str, str] = {}
        """The kinds of files by their prefix."""
        self._renewal: Renewal | None = None
        """What renews the static files; None until they are served."""
        self._shared: SharedSite | None = None
        """The site, where it has the probes too."""
        self.site = self._make_site(configuration, counted, reactor)
        # The page draws what the metrics count; without them it knows how many were answered, and no more.
        totals = metrics.totals if counted else lambda: metrics.Totals(self.site.responses, [], None)
        self._history = History(totals, self.load, reactor)
        if counted:
            self.observers.append(ReactorLagService(metrics.reactor_lag.observe, reactor))
        if not (configuration.no_status_page or configuration.no_probe):
            self.observers.append(self._history)
        drain = Drain(configuration.drain_delay, configuration.graceful_timeout)
        self.web = WebService(
            listeners,
            self.site,
            drain,
            lifecycle.wait,
            lambda: self.pool.finished(reactor),
            lambda wanted: bound_connections(wanted, configuration.threads),
        )

    def steps(
        self, between: Sequence[Step], set_up: Callable[[], None], prepared: Callable[[], None] = lambda: None
    ) -> list[Step]:
        """What makes it ready to serve.

        `set_up` is called once Django is set up; `between` comes then, and `prepared` is called after that.
        """

        def set_django_up() -> None:
            self._application.set_up(self._log.applying_logging)
            self._log.settle()
            # Before migrations and commands do what cannot be undone.
            prefixes = check_urls(self._files)
            if self._resources is not None:
                self._resources.check(prefixes)
            set_up()

        loads: list[Step] = [("loading the WSGI application", self._load)]
        if self._resources is not None:
            loads.append(("importing the resources of --mount", self._resources.load))
        indexing = [(f"indexing the {index.kind} files", partial(self._mount, index)) for index in self._files]
        steps: list[Step] = [*indexing, *loads]
        (name, first), *rest = steps

        def go_on() -> None:
            prepared()
            first()

        return [("setting Django up", set_django_up), *between, (name, go_on), *rest]

    def put_probes_first(self, probes: ProbeRoot, early: Callable[[str], None] | None) -> None:
        """Serve the probes on the web port, before files and the application.

        With `early` from the start of the services on; it is told why the port cannot be opened.
        """
        if self._shared is not None:
            self._shared.put_first(probes)
            self.web.on_open, self.web.early = self._shared.begin, early

    def load(self) -> Load:
        """How busy it is."""
        return load_of(self.site, self.pool)

    def describe(self) -> dict[str, Any]:
        """Everything that the status page shows of this process."""
        limit = self._concurrency.limit if self._concurrency is not None else None
        core = self._cores.core if self._cores is not None else None
        return worker_status(self.site, self.pool, self._history, resident_memory(), limit, core)

    def flush_metrics(self) -> None:
        """Bring the metrics up to date."""
        self.site.tell()
        metrics.flush()
        metrics.show_load(self.load())

    def renew_static(self, replace: Callable[[], None], storage: Any) -> None:
        """Have `replace` change static files, and serve them as they are then; `storage` knows their hashed names.

        Blocks, in any thread but the reactor's. What `replace` raises travels.
        """
        if self._renewal is None:
            replace()
        else:
            self._renewal.renew(replace, storage)

    def log_stacks(self, signal_name: str) -> None:
        """Log where every thread stands, and which request it serves."""
        log_all_stacks(signal_name, self.django.serving())

    def _dispatch(self, configuration: Configuration, returns: ReactorQueue, counted: bool, reactor: Reactor) -> None:
        """Have no more threads at work than are of use."""
        cores = len(os.sched_getaffinity(0))
        self._concurrency = Concurrency(configuration.threads, cores)
        dispatcher = Dispatcher(self.pool, returns, self._concurrency)
        reactor.before_waiting, reactor.after_waiting = dispatcher.dispatch, returns.after_waiting
        if configuration.cpu_affinity == "auto" and cores > 1:
            # Imported here: for this alone.
            from twistserve.threads.core_keeper import core_keeper

            on_change = partial(contain, metrics.core_changes.inc) if counted else lambda: None
            dispatcher.cores = self._cores = core_keeper(self.pool, reactor, on_change)
            self.observers.append(self._cores)

    def _file_threads(self, kind: str) -> FileThreads:
        """Each kind has its own: a file system that hangs holds up what is on it alone."""
        return FileThreads(f"{kind}-files", self._call_from_thread)

    def _make_handler(self, configuration: Configuration, returns: ReactorQueue) -> DjangoHandler:
        environs = EnvironMaker(TrustedPeers(configuration.forwarded_allow_ips), configuration.workers > 1)
        call = TimedCall if configuration.debug else Call
        sent = self._file_threads("sent")
        return DjangoHandler(self._application, self.pool, returns, environs, self._deadlines, sent, call)

    def _make_root(self, configuration: Configuration, reactor: Any) -> Router:
        if not configuration.mount:
            return Router(self.django)
        # Imported here: twisted.web takes its time and memory.
        from twistserve.resources.mounts import Mounts

        root = MountRouter(self.django)
        self._resources = Mounts(configuration.mount, root, self.django.environs, self._deadlines, reactor)
        return root

    def _make_site(self, configuration: Configuration, counted: bool, reactor: Any) -> Site:
        as_json = configuration.log_format == "json"
        access_log = AccessLog(self._log, as_json) if configuration.access_log else None
        limits, told = _limits(configuration), _told(counted, access_log)
        if configuration.probes_on_web_port:
            # Imported here, with all that responds to probes: for this alone.
            from twistserve.probes.web_port import SharedSite

            probe_log = AccessLog(self._log, as_json) if configuration.log_probes else None
            on_probes = probe_log.responded if probe_log is not None else lambda requests: None
            self._shared = SharedSite(self._root, reactor, limits, *told, on_probes)
        site = self._shared or Site(self._root, reactor, limits, *told)
        if configuration.endpoint:
            site.offer_http2()
        return site

    def _load(self) -> None:
        self._application.load()
        # A wsgi.py may have set up logging of its own.
        self._log.settle()
        for index in self._files:
            if self._tells and isinstance(index, MediaIndex):
                contain(index.tell)

    def _mount(self, index: StaticIndex | MediaIndex) -> None:
        """Serve the files of an index below its prefix. Blocks; before the web port opens. Raises `StartError`."""
        index.load()
        if index.prefix in self._mounted:
            raise StartError(f"the settings STATIC_URL and MEDIA_URL are the same, {index.prefix!r}: give each its own")
        self._mounted[index.prefix] = index.kind
        cache = None if index.changing else MemoryCache()
        threads = self._file_threads(index.kind)
        handlers: list[FileHandler] = []
        if index.prefix != "/":
            identify, depth = self.django.environs.identify, depth_of(index.prefix.encode())
            handler = FileHandler(index.kind, index.find, threads, cache, self._deadlines, identify, depth=depth)
            self._root.mount(index.prefix, handler)
            handlers.append(handler)
        if isinstance(index, StaticIndex):
            outside = self._mount_outside(index, threads, cache)
            mount = lambda: self._root.mount_at(index.paths_outside, outside)  # noqa: E731
            mount()
            self._renewal = Renewal(index, threads, [*handlers, outside], mount, self._call_from_thread)

    def _mount_outside(self, index: StaticIndex, threads: FileThreads, cache: MemoryCache | None) -> FileHandler:
        """Serve the files of WHITENOISE_ROOT, such as /robots.txt, if any path may be one's.

        Returns what serves them where their paths are known.
        """
        identify = self.django.environs.identify
        make = partial(FileHandler, index.kind, index.find_outside, threads, cache, self._deadlines, identify)
        if index.anywhere:
            self._root.default = make(self.django)
        return make()


def _told(
    counted: bool, access_log: AccessLog | None
) -> tuple[Callable[[Sequence[Request]], None], Callable[[str, int, str], None]]:
    """What is told of requests that are over, and of what was refused."""

    def on_responses(requests: Sequence[Request]) -> None:
        if counted:
            metrics.record_requests(requests)
        if access_log is not None:
            access_log.responded(requests)

    def on_refusal(remote: str, status: int, reason: str) -> None:
        if counted:
            contain(metrics.rejected_requests.labels(reason).inc)
        if access_log is not None:
            access_log.refused(remote, status)

    return on_responses, on_refusal


def _limits(configuration: Configuration) -> Limits:
    return Limits(
        max_body=configuration.max_body_size,
        max_head=configuration.max_header_size,
        header_timeout=configuration.header_timeout,
        body_timeout=configuration.body_timeout,
        keep_alive_timeout=configuration.keep_alive_timeout,
        max_connections=configuration.max_connections,
    )
