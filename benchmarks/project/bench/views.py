"""One view a workload. Each gives the same bytes to every server, so that answers can be compared."""

from __future__ import annotations

import hashlib

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from bench.models import Article, Comment

ITERATIONS = 500_000
"""Of PBKDF2: about 100 ms on the machine of docs/performance.md."""
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


def pgquery(request: HttpRequest) -> HttpResponse:
    """The same over a connection that stays."""
    return db(request)


def pgpage(request: HttpRequest) -> HttpResponse:
    """An article, the number of its comments, twenty comments with their articles, and the newest articles."""
    article = Article.objects.get(pk=500)
    comments = Comment.objects.select_related("article").order_by("-pk")[:20]
    newest = Article.objects.order_by("-pk").only("title", "published")[:5]
    count = Comment.objects.filter(article=article).count()
    context = {"article": article, "count": count, "comments": comments, "newest": newest}
    return render(request, "bench/pgpage.html", context)


def hash_password(request: HttpRequest) -> HttpResponse:
    """Computes without the GIL."""
    return HttpResponse(
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", ITERATIONS).hex(), content_type="text/plain"
    )


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse((BLOCK for _ in range(100)), content_type="application/octet-stream")


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)), content_type="text/plain")
