"""The site under soak: views that behave, and views that do not."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.soak import contents

logger = logging.getLogger(__name__)
LINES = 50
"""Of the log, by a view that logs much."""
HANGS = 12.0
"""Seconds: more than --request-timeout."""
GROWS = 4 << 20
"""Bytes that a worker loses to a view that leaks."""
leaked: list[bytearray] = []


def number_of(request: HttpRequest) -> int:
    """The number that is the client's for this request."""
    return int(request.GET["n"])


def said(request: HttpRequest, body: bytes) -> HttpResponse:
    response = HttpResponse(body, content_type="text/plain")
    response["X-Number"] = str(number_of(request))
    return response


@csrf_exempt
def echo(request: HttpRequest) -> HttpResponse:
    """As many bytes as are asked for."""
    return said(request, contents.text(number_of(request), int(request.GET["size"])))


def page(request: HttpRequest) -> HttpResponse:
    """A template with a loop."""
    return render(request, "page.html", {"number": number_of(request), "rows": range(contents.ROWS)})


def database(request: HttpRequest) -> HttpResponse:
    """A query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s + 1", [number_of(request)])
        return said(request, str(cursor.fetchone()[0]).encode())


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """Size and digest of the body."""
    return said(request, f"{len(request.body)} {hashlib.sha256(request.body).hexdigest()}".encode())


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Blocks, one after another."""
    number = number_of(request)
    blocks: Iterator[bytes] = (contents.block(number, index) for index in range(int(request.GET["blocks"])))
    return StreamingHttpResponse(blocks, content_type="application/octet-stream")


def late(request: HttpRequest) -> HttpResponse:
    """An answer that takes its time, and is in time."""
    time.sleep(float(request.GET["seconds"]))
    return said(request, b"late")


def hang(request: HttpRequest) -> HttpResponse:
    """An answer that is too late."""
    time.sleep(HANGS)
    return said(request, b"too late")


def fail(request: HttpRequest) -> HttpResponse:
    """A mistake of the application's."""
    raise RuntimeError("on purpose: a view of the soak")


def chatty(request: HttpRequest) -> HttpResponse:
    """Many lines of the log."""
    for line in range(LINES):
        logger.warning("line %d of request %d", line, number_of(request))
    return said(request, b"logged")


def leak(request: HttpRequest) -> HttpResponse:
    """Memory that is lost until the worker is replaced."""
    leaked.append(bytearray(GROWS))
    return said(request, b"leaked")


urlpatterns = [path(view.__name__, view) for view in (echo, page, database, late, hang, fail, chatty, leak)]
urlpatterns += [path("upload", upload), path("stream", stream)]
application = get_wsgi_application()
