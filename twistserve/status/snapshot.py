"""What one process that serves is at: dictionaries that JSON can say, for the status page."""

from __future__ import annotations

import heapq
import os
import time
from dataclasses import replace
from typing import Any

from twistserve.files.handler import Opening
from twistserve.http.access_log import escape
from twistserve.http.request import Pending
from twistserve.http.site import Site
from twistserve.load import Load
from twistserve.status.history import History
from twistserve.threads.pool import RequestThreadPool
from twistserve.wsgi.handler import Call

MOST_REQUESTS = 100
LONGEST_PATH = 200
LONG = 5.0
"""Seconds after which it is worth telling where a request's thread stands, whatever its deadline."""


def load_of(site: Site, pool: RequestThreadPool) -> Load:
    """What there is to do now. Reactor thread."""
    return replace(
        pool.snapshot(), requests=site.in_flight, connections=len(site.connections), websockets=len(site.upgraded)
    )


def worker_status(
    site: Site,
    pool: RequestThreadPool,
    history: History,
    memory: int,
    limit: int | None = None,
    core: int | None = None,
) -> dict[str, Any]:
    """Everything that belongs to one process that serves, as docs/status-page.md says of `workers`. Reactor thread.

    `memory` is in bytes, `limit` is how many threads may be at work, `core` the one that they are kept on. The number
    is right where there is one process; of several, the parent knows them.
    """
    load = load_of(site, pool)
    requests, more = _requests(site, pool)
    return {
        "number": 1,
        "pid": os.getpid(),
        "seconds": round(history.age, 1),
        "memory": memory,
        "answered": site.responses,
        "in_flight": load.requests,
        "queued": load.queued,
        "threads": {"total": load.threads, "busy": load.busy, "stuck": load.stuck, "limit": limit},
        "core": core,
        "connections": load.connections,
        "websockets": load.websockets,
        "requests": requests,
        "more_requests": more,
        "history": history.columns(),
    }


def _requests(site: Site, pool: RequestThreadPool) -> tuple[list[dict[str, Any]], int]:
    """The requests past their deadline, then the oldest of the others; and how many more there are.

    Not only those in flight: a thread may be at one whose client has left, or has its 504.
    """
    at_work = {job for job in pool.at_work().values() if isinstance(job, Call)}
    calls = {request: request.pending for request in site.requests}
    calls |= {call.request: call for call in at_work}
    stages = {
        request: call.stage(call in at_work) if isinstance(call, Call) else _stage_without_thread(call)
        for request, call in calls.items()
    }
    longest = heapq.nsmallest(
        MOST_REQUESTS, calls, key=lambda request: (stages[request] != "overdue", request.received_at)
    )
    now = time.perf_counter()
    shown: list[dict[str, Any]] = []
    for request in longest:
        age, stage, call = now - request.received_at, stages[request], calls[request]
        tells_where = call in at_work and (stage == "overdue" or age >= LONG)
        shown.append(
            {
                "method": escape(request.method),
                "path": _shortened(escape(request.path)),
                "seconds": round(age, 3),
                "stage": stage,
                "where": call.where() if call is not None and tells_where else None,
            }
        )
    return shown, len(calls) - len(shown)


def _stage_without_thread(pending: Pending | None) -> str:
    """The stage of a request of a file, or of a mounted resource."""
    if isinstance(pending, Opening):
        return "opening"
    return "running" if pending is not None and pending.is_waiting() else "sending"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_PATH else text[: LONGEST_PATH - 1] + "…"
