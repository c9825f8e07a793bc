"""What a process that serves tells of its requests."""

from __future__ import annotations

import math
import time
from io import BytesIO
from typing import Any

from twistserve.http.deadlines import Deadline
from twistserve.status.history import History
from twistserve.status.snapshot import LONG, LONGEST_PATH, MOST_REQUESTS, worker_status
from twistserve.threads.pool import RequestThreadPool
from twistserve.threads.reactor_queue import ReactorQueue
from twistserve.wsgi.handler import Call, DjangoHandler


class Request:
    """As much of a request as is told."""

    method = b"GET"
    pending: Any = None

    def __init__(self, path: bytes = b"/", age: float = 0.0) -> None:
        self.path = path
        self.received_at = time.perf_counter() - age
        self.body: BytesIO | None = BytesIO()


class Site:
    """As much of a site."""

    responses = 5

    def __init__(self, *requests: Any) -> None:
        self.requests = set(requests)
        self.in_flight = len(requests)
        self.connections = {1, 2, 3}
        self.upgraded = {2, 3}


class Watching(History):
    """A history that has seen nothing."""

    def __init__(self) -> None:
        pass

    age = 12.34

    def columns(self) -> dict[str, list[float | None]]:
        return {}


def told(site: Site, pool: RequestThreadPool | None = None) -> dict[str, Any]:
    return worker_status(site, pool or RequestThreadPool(1), Watching(), 1 << 20)  # type: ignore[arg-type]


def test_counts() -> None:
    """Plain numbers of the process."""
    found = told(Site(Request()))
    assert found["websockets"] == 2
    assert (found["in_flight"], found["connections"], found["answered"], found["memory"]) == (1, 3, 5, 1 << 20)
    threads = {"total": 0, "busy": 0, "stuck": 0, "limit": None}
    assert (found["seconds"], found["queued"], found["threads"]) == (12.3, 0, threads)


def test_how_its_threads_are_let_at_work() -> None:
    """How many may be, and on which core."""
    found = worker_status(Site(), RequestThreadPool(1), Watching(), 1 << 20, 2, 5)  # type: ignore[arg-type]
    assert (found["threads"]["limit"], found["core"]) == (2, 5)


def test_the_list_is_bounded_and_the_oldest_are_in_it() -> None:
    """However many requests there are, the longest-running are told and the rest counted."""
    found = told(Site(*(Request(b"/%d" % age, age) for age in range(1000))))
    assert len(found["requests"]) == MOST_REQUESTS
    assert found["more_requests"] == 1000 - MOST_REQUESTS
    assert [request["path"] for request in found["requests"][:3]] == ["/999", "/998", "/997"]
    assert found["requests"][0]["stage"] == "sending"


def test_paths_are_bounded_and_printable() -> None:
    """Control characters, quotes and length are the client's; what is told is ours."""
    (long,) = told(Site(Request(b"/" + b"x" * 10_000)))["requests"]
    assert len(long["path"]) == LONGEST_PATH
    (strange,) = told(Site(Request(b'/\x00\x1b[2J"\xff')))["requests"]
    assert strange["path"] == "/\\x00\\x1b[2J\\x22\xff"


def call(request: Request, pool: RequestThreadPool, deadline: float = math.inf) -> Call:
    """The application's call for a request that is on its way through the pool."""
    handler = DjangoHandler(None, pool, ReactorQueue(lambda function: None), None)  # type: ignore[arg-type]
    made = Call(handler, request, {})  # type: ignore[arg-type]
    made.deadline = Deadline(time.time, deadline)
    request.pending = made
    return made


class Thread:
    """Stands for what a thread of the pool is at."""

    def __init__(self, *jobs: Any) -> None:
        self.jobs = dict(enumerate(jobs, 1))

    def at_work(self) -> dict[int, Any]:
        return self.jobs

    snapshot = RequestThreadPool(1).snapshot


def test_a_stuck_request_is_told_though_its_client_has_its_response() -> None:
    """It comes first, and where its thread stands is told; so do requests that are at work for long."""
    pool = RequestThreadPool(1)
    stuck, slow, quick = Request(b"/stuck", 3), Request(b"/slow", LONG + 1), Request(b"/quick", 1)
    jobs = [call(stuck, pool, deadline=1.0), call(slow, pool), call(quick, pool)]
    stuck.pending = None
    waiting = Request(b"/waiting", 2)
    call(waiting, pool)
    found = told(Site(slow, quick, waiting), Thread(*jobs))  # type: ignore[arg-type]
    assert [(request["path"], request["stage"]) for request in found["requests"]] == [
        ("/stuck", "overdue"),
        ("/slow", "running"),
        ("/waiting", "waiting"),
        ("/quick", "running"),
    ]
    assert [request["where"] is not None for request in found["requests"]] == [True, True, False, False]
    assert found["in_flight"] == 3


def test_a_request_whose_client_has_left_is_told_while_a_thread_is_at_it() -> None:
    """It is in nobody's way but the thread's."""
    pool = RequestThreadPool(1)
    left = Request(b"/left", 1)
    job = call(left, pool)
    job.given_up()
    (found,) = told(Site(), Thread(job))["requests"]  # type: ignore[arg-type]
    assert found["stage"] == "abandoned"
