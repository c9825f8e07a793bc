"""A shop with checks and slow views, and what its status page says of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.functional.harness import Server, raw, wait_for, write_project

HOSTILE = "/<script>alert(1)</script>/<img/src=x/onerror=alert(2)>/\"'&lt;"
SHOP = """
import time
from pathlib import Path

from django.core.checks import Error, Warning, register

HERE = Path(__file__).resolve().parent


def there(name):
    return (HERE / name).exists()


@register("readiness")
def shelves(**kwargs):
    if there("raises"):
        raise ValueError("postgres://shop:hunter2@db/shop in /srv/shop/settings.py")
    while there("hangs"):
        time.sleep(0.01)
    return [Error("<script>alert(3)</script>")] if there("empty") else []


@register("liveness")
def pulse(**kwargs):
    return [Warning("It is faint.", id="shop.W001")] if there("faint") else []
"""
VIEWS = """
import time

from django.http import HttpResponse
from django.urls import re_path

import shop


def hold(request):
    while not shop.there("gate"):
        time.sleep(0.01)
    return HttpResponse("held")


def fails(request):
    return HttpResponse("failed", status=503)


urlpatterns = [
    re_path("^quick/", lambda request: HttpResponse("quick")),
    re_path("^fails/", fails),
    re_path("", hold),
]
"""


def write_shop(directory: Path) -> Path:
    """The project of the shop: its views hold requests until there is a file `gate`."""
    return write_project(directory, VIEWS, 'INSTALLED_APPS += ["shop"]\n', shop=SHOP)


@contextmanager
def held(server: Server, *paths: str) -> Iterator[list[bytes]]:
    """Requests of these paths, sent in this order, held by their view until the block ends; the answers come then."""
    (server.cwd / "gate").unlink(missing_ok=True)
    answers: list[bytes] = []

    def ask(path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
        answers.append(raw(server.port, request.encode("latin-1")))

    def arrived(number: int) -> bool:
        threads = [each["threads"] for each in document(server)["workers"]]
        total, busy = (sum(each[name] for each in threads) for name in ("total", "busy"))
        return len(requests(server)) >= number and busy >= min(number, total)

    clients = [threading.Thread(target=ask, args=(path,)) for path in paths]
    try:
        for number, client in enumerate(clients, 1):
            client.start()
            wait_for(partial(arrived, number), "the request to arrive")
        yield answers
    finally:
        (server.cwd / "gate").touch()
        for client in clients:
            client.join()


def document(server: Server) -> dict[str, Any]:
    """What /status.json says."""
    reply = server.probe("/status.json")
    assert reply.status == 200
    found: dict[str, Any] = reply.json()
    return found


def requests(server: Server) -> list[dict[str, Any]]:
    """The requests that are told, in their order."""
    return [request for each in document(server)["workers"] for request in each["requests"]]
