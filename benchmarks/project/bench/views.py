"""One view a workload. Each gives the same bytes to every server, so that answers can be compared.

Those from `healthz` on are what `benchmarks.compare` asks for.
"""

from __future__ import annotations

import hashlib
import time

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from bench.health import ask_the_database
from bench.models import Article, Comment

ITERATIONS = 500_000
"""Of PBKDF2: about 100 ms on the machine of docs/performance.md."""
BLOCK = (b"0123456789abcdef" * 64)[:1024]
LARGE = BLOCK * 8 * 1024
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


def healthz(request: HttpRequest) -> HttpResponse:
    """What one writes for a server without probes."""
    ask_the_database()
    return HttpResponse("ok", content_type="text/plain")


def wait(request: HttpRequest) -> HttpResponse:
    """Waits for so many seconds, as for a database."""
    time.sleep(float(request.GET.get("seconds", "2")))
    return HttpResponse("waited", content_type="text/plain")


def compute(request: HttpRequest) -> HttpResponse:
    """Computes for 10 ms of CPU time, with the GIL."""
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        sum(range(2000))
    return HttpResponse("computed", content_type="text/plain")


def large(request: HttpRequest) -> HttpResponse:
    """More than the kernel's buffers of a connection take."""
    return HttpResponse(LARGE, content_type="application/octet-stream")


@csrf_exempt
def digest(request: HttpRequest) -> HttpResponse:
    return HttpResponse(hashlib.sha256(request.body).hexdigest(), content_type="text/plain")


@csrf_exempt
def echo(request: HttpRequest) -> JsonResponse:
    """What arrived of the request.

    Django's WSGI handler takes a body only where the server sets CONTENT_LENGTH. Chunks are read past it: it is the
    server that is to be judged.
    """
    headers = {name: request.headers.get(name) for name in ("Host", "X-A")}
    environ = request.META
    chunks = "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH") and "wsgi.input" in environ
    body = environ["wsgi.input"].read() if chunks else request.body
    return JsonResponse(
        {"method": request.method, "path": request.get_full_path(), "body": body.decode("latin-1"), **headers}
    )
