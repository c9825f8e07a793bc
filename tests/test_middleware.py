"""RouteMetricsMiddleware in Django's own chain, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import include, path, re_path
from django.utils.functional import empty
from prometheus_client import REGISTRY

from twistserve.metrics import catalogue as metrics
from twistserve.middleware import RouteMetricsMiddleware

Ask = Callable[..., int]
Counts = dict[tuple[str, str, str], float]


def fine(request: Any, **matched: Any) -> HttpResponse:
    return HttpResponse(b"fine")


async def fine_too(request: Any) -> HttpResponse:
    return HttpResponse(b"fine")


def missing(request: Any) -> HttpResponse:
    raise Http404


def broken(request: Any) -> HttpResponse:
    raise LookupError("a bug")


def elsewhere(get_response: Any) -> Any:
    """A middleware that answers some requests before any URL is looked at."""

    def middleware(request: Any) -> Any:
        return HttpResponseRedirect("/") if request.GET.get("elsewhere") else get_response(request)

    return middleware


urlpatterns = [
    path("", fine),
    path("books/<int:pk>/", fine),
    path("async/", fine_too),
    path("missing/", missing),
    path("broken/", broken),
    path("shop/", include([path("<slug:name>/", fine), re_path(r"^old/(?P<year>\d{4})/$", fine)])),
]


@pytest.fixture(autouse=True, scope="module")
def project() -> Iterator[None]:
    """Django with this module as its URLconf, and with the settings it had before afterwards."""
    before, settings._wrapped = settings._wrapped, empty
    settings.configure(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["twistserve.middleware.RouteMetricsMiddleware", f"{__name__}.elsewhere"],
        ALLOWED_HOSTS=["good.example"],
        SECRET_KEY="tests",
    )
    yield
    settings._wrapped = before


def ask_sync(target: str, method: str = "GET", host: str = "good.example") -> int:
    from django.test import Client

    client = Client(raise_request_exception=False)
    return client.generic(method, target, headers={"Host": host}).status_code


def ask_async(target: str, method: str = "GET", host: str = "good.example") -> int:
    from django.test import AsyncClient

    client = AsyncClient(raise_request_exception=False)

    async def ask() -> int:
        response = await client.generic(method, target, headers={"Host": host})
        return response.status_code

    return asyncio.run(ask())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Send a request through Django's WSGI or ASGI handler and return the status."""
    return request.param  # type: ignore[no-any-return]


def counts() -> Counts:
    """How many requests were counted under each route, method and status."""
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in REGISTRY.collect()
        if family.name == "twistserve_view_requests"
        for sample in family.samples
        if sample.name == "twistserve_view_requests_total"
    }


def new(before: Counts) -> Counts:
    return {key: value - before.get(key, 0) for key, value in counts().items() if value != before.get(key, 0)}


@pytest.mark.parametrize(
    ("target", "route", "status"),
    [
        ("/", "/", 200),
        ("/books/1/", "books/<int:pk>/", 200),
        ("/books/2/?query=1", "books/<int:pk>/", 200),
        ("/async/", "async/", 200),
        ("/missing/", "missing/", 404),
        ("/broken/", "broken/", 500),
        ("/shop/pens/", "shop/<slug:name>/", 200),
        ("/shop/old/2001/", r"shop/old/(?P<year>\d{4})/$", 200),
        ("/nowhere/", "none", 404),
        ("/books/%22%7D%0A/", "none", 404),
        ("/books/1/?elsewhere=1", "none", 302),
    ],
)
def test_a_response_is_counted_under_its_route(ask: Ask, target: str, route: str, status: int) -> None:
    """Each once, with its status and its time, under the pattern that matched, or none."""
    labels = {"route": route, "method": "GET"}
    seconds = "twistserve_view_duration_seconds"
    before, timed = counts(), REGISTRY.get_sample_value(f"{seconds}_count", labels) or 0
    took = REGISTRY.get_sample_value(f"{seconds}_sum", labels) or 0
    assert ask(target) == status
    assert new(before) == {(route, "GET", str(status)): 1}
    assert REGISTRY.get_sample_value(f"{seconds}_count", labels) == timed + 1
    assert took < (REGISTRY.get_sample_value(f"{seconds}_sum", labels) or 0) < took + 30


def test_visitors_make_no_labels(ask: Ask) -> None:
    """Paths, methods and hosts that nobody expects all come under a few labels that are known."""
    before = counts()
    for number in range(20):
        ask(f"/made-up-{number}/")
        ask("/", method=f"MADEUP{number}")
        ask("/", host=f"made-up-{number}.example")
        ask(f"/books/{number}/")
    assert new(before) == {
        ("none", "GET", "404"): 20,
        ("/", "OTHER", "200"): 20,
        ("/", "GET", "200"): 20,
        ("books/<int:pk>/", "GET", "200"): 20,
    }


def test_nothing_is_counted_without_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --no-metrics Django leaves the middleware out of its chain."""
    monkeypatch.setattr(metrics, "views_counted", False)
    with pytest.raises(MiddlewareNotUsed):
        RouteMetricsMiddleware(fine)
    before = counts()
    assert ask_sync("/") == 200
    assert new(before) == {}
