"""The pages of the shop, and a few views that show how a server treats a project."""

from __future__ import annotations

import hashlib
import math
import time
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import BadRequest
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django.views.generic import DetailView, ListView, UpdateView

from catalogue.forms import CoverForm
from catalogue.live import tell_stock
from catalogue.models import Book

LONGEST_SLEEP = 30.0
"""Seconds a visitor may hold a request thread through `slow`."""

READ_SIZE = 64 * 1024
"""Bytes of a body that `echo` reads at a time."""


class BookList(ListView):
    """All the books."""

    queryset = Book.objects.select_related("author")
    template_name = "catalogue/book_list.html"
    extra_context: ClassVar = {"live": settings.LIVE}


class BookDetail(DetailView):
    """One book."""

    queryset = Book.objects.select_related("author")
    template_name = "catalogue/book_detail.html"
    extra_context: ClassVar = {"live": settings.LIVE}


@require_POST
def buy(request: HttpRequest, pk: int) -> HttpResponse:
    """Sell a copy, if there is one, and tell every page that is open."""
    book = get_object_or_404(Book, pk=pk)
    if Book.objects.filter(pk=pk, stock__gt=0).update(stock=F("stock") - 1):
        tell_stock(pk)
    return redirect(book)


class CoverUpload(UpdateView):
    """A form that gives a book its cover, then shows the book."""

    model = Book
    form_class = CoverForm
    template_name = "catalogue/cover_upload.html"


def slow(request: HttpRequest) -> HttpResponse:
    """Keep a thread busy doing nothing for `?seconds=N`."""
    seconds = min(number(request, "seconds", 1), LONGEST_SLEEP)
    time.sleep(seconds)
    return text(f"slept {seconds:g}")


def count(request: HttpRequest) -> HttpResponse:
    """Ask the database how many books there are."""
    return text(str(Book.objects.count()))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer in `?chunks=N` pieces, made only as they are sent."""
    chunks = number(request, "chunks", 10)
    if not chunks.is_integer():
        raise BadRequest("chunks must be a whole number.")
    lines = (f"chunk {index}\n" for index in range(int(chunks)))
    return StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8")


@csrf_exempt
@require_POST
def echo(request: HttpRequest) -> HttpResponseBase:
    """Tell what arrived; read piece by piece, so that Django's limit on `request.body` does not apply."""
    length, digest = 0, hashlib.sha256()
    while piece := request.read(READ_SIZE):
        length += len(piece)
        digest.update(piece)
    return JsonResponse({"length": length, "sha256": digest.hexdigest(), "content_type": request.content_type})


def boom(request: HttpRequest) -> HttpResponse:
    """Fail as a view with a bug does."""
    raise RuntimeError("boom")


def number(request: HttpRequest, name: str, default: float) -> float:
    """A query parameter that must be a finite number, zero or more; anything else is answered 400."""
    try:
        value = float(request.GET.get(name, default))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadRequest(f"{name} must be a number, zero or more.")
    return value


def text(content: str) -> HttpResponse:
    """A plain text answer."""
    return HttpResponse(content, content_type="text/plain; charset=utf-8")
