"""Metrics by route, for any project that lists `twistserve.middleware.RouteMetricsMiddleware` first in MIDDLEWARE."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from twistserve.metrics import catalogue as metrics

__all__ = ["RouteMetricsMiddleware"]


class RouteMetricsMiddleware:
    """Counts each response under the pattern that its URL matched, and how long it took to be made.

    The pattern is the URLconf's own text, so that no visitor can make one up: `books/<int:pk>/`, `/` for an empty
    one, `none` where nothing matched. Costs about 2 us a request. Works sync and async.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        if not metrics.views_counted:
            raise MiddlewareNotUsed("--no-metrics: nothing is counted")
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Have the request answered, and count."""
        if self._is_async:
            return self._answer_async(request)
        began = perf_counter()
        response: HttpResponseBase = self._get_response(request)
        _count(request, response, perf_counter() - began)
        return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        began = perf_counter()
        response: HttpResponseBase = await self._get_response(request)
        _count(request, response, perf_counter() - began)
        return response


def _count(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    match = request.resolver_match
    route = "none" if match is None else match.route or "/"
    metrics.record_view(route, request.method or "", response.status_code, seconds)
