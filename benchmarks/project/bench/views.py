"""One view a workload. Each gives the same bytes to every server, so that answers can be compared."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from bench.models import Article

BLOCK = (b"0123456789abcdef" * 64)[:1024]
ROWS = [
    {
        "number": number,
        "title": f"Article {number} <on> some & other things",
        "author": f"Author {number % 7}" if number % 7 else "",
        "published": f"2026-01-{number % 28 + 1:02}",
        "price": f"{number * 1.37:.2f}",
        "new": number % 10 == 0,
    }
    for number in range(1, 51)
]


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, world!", content_type="text/plain")


def page(request: HttpRequest) -> HttpResponse:
    """A list of 50 rows in a layout: inheritance, an include, conditions, filters, escaping."""
    return render(request, "bench/page.html", {"heading": "Articles", "rows": ROWS})


def body100k(request: HttpRequest) -> HttpResponse:
    return HttpResponse(BLOCK * 100, content_type="application/octet-stream")


def db(request: HttpRequest) -> HttpResponse:
    """One row, over a connection opened for this request: Django's default."""
    article = Article.objects.get(pk=500)
    return JsonResponse({"title": article.title, "text": article.text, "published": article.published})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse((BLOCK for _ in range(100)), content_type="application/octet-stream")


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)), content_type="text/plain")
