"""A project with services of every kind, which note what they do in files and do what other files ask for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.support.functional.harness import Server, write_project

VIEWS = """
import os, time
from pathlib import Path
from django.http import HttpResponse
from django.urls import path
HERE = Path(__file__).resolve().parent

def who(request):
    return HttpResponse(f"{os.getpid()} one")

def hold(request):
    (HERE / f"entered-{request.GET['name']}").write_text(f"{os.getpid()} ")
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return HttpResponse(f"held {request.GET['name']}")

urlpatterns = [path("who/", who), path("hold/", hold)]
"""
STOCK = '''
import logging, os, sys, threading, time
from pathlib import Path
from prometheus_client import Counter
from twisted.application.internet import TimerService
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread
from zope.interface import implementer

HERE = Path(__file__).resolve().parent
STARTS = Counter("stock_starts", "Starts of services.")
log = logging.getLogger("stock")
REVISION = "one"
NUMBER = 5


def there(name):
    return (HERE / name).exists()


def note(*words):
    """Write down what happens, when, and in which process and thread."""
    with open(HERE / "notes", "a") as record:
        thread = threading.current_thread()
        where = "main" if thread is threading.main_thread() else thread.name.replace(" ", "-")
        record.write(" ".join(map(str, (time.monotonic(), os.getpid(), where, *words))) + "\\n")


def until(name):
    """A Deferred that fires soon after there is a file of this name."""
    done = Deferred()

    def look():
        from twisted.internet import reactor
        if there(name):
            done.callback(None)
        else:
            reactor.callLater(0.02, look)

    from twisted.internet import reactor
    reactor.callLater(0.02, look)
    return done


def django_is_ready():
    from django.apps import apps
    return apps.ready and "site_wsgi" in sys.modules


note("imported", django_is_ready())


class Noting(Service):
    label = "noting"

    def startService(self):
        super().startService()
        STARTS.inc()
        note("start", self.label, REVISION)

    def stopService(self):
        super().stopService()
        note("stop", self.label, REVISION)


class Feed(Noting):
    """Observes the lifecycle; its readiness and metrics are what the files `verdict` and `figures` say."""

    label = "feed"
    scrapes = 0

    def __init__(self, lifecycle, reactor):
        from twisted.internet import reactor as the_reactor
        note("called", "feed", reactor is the_reactor, lifecycle.state.value)
        lifecycle.observe(lambda state, reason: note("state", state.value))

    def startService(self):
        super().startService()
        log.warning("the feed has started")

    def check_ready(self):
        verdict = (HERE / "verdict").read_text() if there("verdict") else ""
        kind, _, text = verdict.partition(" ")
        if kind == "text":
            return text
        if kind == "raise":
            raise LookupError(text)
        if kind == "exit":
            raise SystemExit(3)
        if kind == "hang":
            return until("hung")
        if kind == "later":
            return until("verdict").addCallback(lambda _: text or None)
        if kind == "fail":
            return fail(LookupError(text))

    def metrics(self):
        if there("figures"):
            raise LookupError("no figures")
        self.scrapes += 1
        return {"symbols": 7, "scrapes": self.scrapes}


class Consumer(Service):
    """As in the documentation."""

    def __init__(self, lifecycle):
        lifecycle.observe(lambda state, reason: self.pause() if state.value == "draining" else None)

    def pause(self):
        note("paused")


class Cache(Noting):
    each_worker = True
    label = "cache"

    def metrics(self):
        return {"entries": 2.5}


def table(*, reactor, size=3):
    made = Noting()
    made.label = "table"
    return made


table.each_worker = True
COPY = Noting()
COPY.label = "copy"
COPY.each_worker = True
GROUP = MultiService()
_member = Noting()
_member.label = "member"
_member.setServiceParent(GROUP)


@implementer(IService)
class Bare:
    """Provides IService without Twisted's own class."""

    name = None
    parent = None
    running = 0

    def setName(self, name): self.name = name
    def setServiceParent(self, parent): self.parent = parent
    def disownServiceParent(self): self.parent = None
    def privilegedStartService(self): pass

    def startService(self):
        self.running = 1
        note("start", "bare", REVISION)

    def stopService(self):
        self.running = 0
        note("stop", "bare", REVISION)


class Opening(Noting):
    """Its start takes until there is the file `open`."""

    label = "opening"

    def startService(self):
        note("starting", self.label)
        return until("open").addCallback(lambda _: super(Opening, self).startService())


class Closing(Noting):
    """Its stop takes until there is the file `close`."""

    label = "closing"

    def stopService(self):
        note("stopping", self.label)
        return until("close").addCallback(lambda _: super(Closing, self).stopService())


class Closing2(Closing):
    label = "closing2"


class Endless(Noting):
    label = "endless"

    def stopService(self):
        note("stopping", self.label)
        return Deferred()


class Late(Endless):
    each_worker = True
    label = "late"


class Blocking(Noting):
    label = "blocking"

    def stopService(self):
        note("stopping", self.label)
        time.sleep(600)


class StopRaises(Noting):
    label = "stopraises"

    def stopService(self):
        super().stopService()
        raise LookupError("the lid is stuck")


class StopFails(Noting):
    label = "stopfails"

    def stopService(self):
        super().stopService()
        return fail(LookupError("the door is stuck"))


class StopExits(Noting):
    label = "stopexits"

    def stopService(self):
        super().stopService()
        raise SystemExit(7)


class Tripping(Noting):
    """Observes the lifecycle with a function that raises in the drain."""

    label = "tripping"

    def __init__(self, lifecycle):
        lifecycle.observe(self.observe)

    def observe(self, state, reason):
        if state.value == "draining":
            raise LookupError("the drain is blocked")


class StartRaises(Service):
    def startService(self):
        raise LookupError("the shelf is gone")


class EachFails(StartRaises):
    each_worker = True


class StartFails(Service):
    def startService(self):
        return fail(LookupError("the shelf is gone"))


class StartExits(Service):
    def startService(self):
        raise SystemExit(7)


class Hanging(Noting):
    """Blocks the reactor while there is the file `block`."""

    label = "hanging"

    def startService(self):
        super().startService()
        self.look()

    def look(self):
        from twisted.internet import reactor
        if there("block"):
            (HERE / "block").unlink()
            note("blocked")
            time.sleep(600)
        reactor.callLater(0.02, self.look)


def ticker():
    def tick():
        if there("break"):
            raise LookupError("out of ticks")
    return TimerService(0.05, tick)


def restock():
    return TimerService(60, lambda: deferToThread(_restock))


def _restock():
    note("restocking")
    while not there("restocked"):
        time.sleep(0.02)
    note("restocked")


class NoService:
    pass


def returns_none():
    pass


def returns_number():
    return 42


async def returns_coroutine():
    return Noting()


def takes_more(shelf):
    return Noting()


def raises():
    raise LookupError("the shelf is gone")
'''
"""One service of each kind. `notes` has a line for what each does; see `events()`."""


class Event(NamedTuple):
    """A line of `notes`: seconds of the machine's monotonic clock, process, thread, and words."""

    at: float
    pid: int
    thread: str
    words: str


def write_stock(directory: Path, settings: str = "", **modules: str) -> Path:
    """The project of the services, which are in its module `stock`."""
    return write_project(directory, VIEWS, settings, stock=STOCK, **modules)


def events(server: Server, words: str = "") -> list[Event]:
    """What has been noted so far, in order; only what begins with these words."""
    path = server.cwd / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [
        Event(float(at), int(pid), thread, text) for at, pid, thread, text in (line.split(" ", 3) for line in lines)
    ]
    return [event for event in found if event.words.startswith(words)]


def said(server: Server, words: str = "") -> list[str]:
    """The words of these events."""
    return [event.words for event in events(server, words)]


def service_metric(server: Server, name: str) -> dict[str, float]:
    """The samples of a metric as /metrics has them, by their labels."""
    lines = [line for line in server.probe("/metrics").text.splitlines() if line.startswith(name + "{")]
    return {line.removeprefix(name).rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
