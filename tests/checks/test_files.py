"""Checks of what --static and --media are to serve."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from django.urls import clear_url_caches, path
from django.views.static import serve

from tests.support.checks import found, told
from twistserve.checks.files import (
    media_can_be_served,
    media_hide_no_documents,
    media_hide_no_view,
    static_can_be_served,
)

STATIC, MEDIA = {"TWISTSERVE": {"STATIC": True}}, {"TWISTSERVE": {"MEDIA": True}}
FINDERS = {"INSTALLED_APPS": ["django.contrib.staticfiles"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"STATIC_URL": "/static/"},
            "--static needs the setting STATIC_ROOT, which is not set. HINT: Give it the directory of the files.",
        ),
        (
            {"STATIC_URL": "/static/", **FINDERS},
            "--static needs the setting STATIC_ROOT, which is not set. HINT: Give it the directory of the files.",
        ),
        (
            {"STATIC_URL": "/static/", "STATIC_ROOT": 7},
            "--static: the setting STATIC_ROOT is 7, which is no path. HINT: Give it a directory.",
        ),
        (
            {"STATIC_URL": "/", "STATIC_ROOT": "/files"},
            "--static needs the setting STATIC_URL, which is '/'. HINT: Set it to a path such as '/static/'; the root"
            " would hide the application.",
        ),
    ],
)
def test_static_files_that_cannot_be_served(settings: dict[str, Any], message: str) -> None:
    """In the words of the start; from a variable as from the setting."""
    assert told(found(static_can_be_served, settings | STATIC)) == [f"(twistserve.W001) {message}"]
    assert told(found(static_can_be_served, settings, {"TWISTSERVE_STATIC": "on"})) == [f"(twistserve.W001) {message}"]


@pytest.mark.parametrize(
    "settings",
    [
        {"STATIC_URL": "/static/", "STATIC_ROOT": "/files", **STATIC},
        {"STATIC_URL": "/static/", "DEBUG": True, **FINDERS, **STATIC},
        {"STATIC_URL": "/static/"},
        {"STATIC_URL": "/static/", "TWISTSERVE": {"STATIC": False}},
        {"STATIC_URL": "/static/", "TWISTSERVE": {"STATIC": True, "THREADS": 0}},
    ],
)
def test_static_files_that_can_be_served(settings: dict[str, Any]) -> None:
    """The directory need not exist yet; the finders serve with DEBUG; nothing is said if nobody asks for them."""
    assert found(static_can_be_served, settings) == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"MEDIA_URL": "/media/"}, "--media needs the setting MEDIA_ROOT"),
        ({"MEDIA_URL": "https://cdn.example/", "MEDIA_ROOT": "/files"}, "HINT: Leave --media out, or set MEDIA_URL"),
        ({"MEDIA_ROOT": "/files"}, "--media needs the setting MEDIA_URL"),
    ],
)
def test_media_that_cannot_be_served(settings: dict[str, Any], named: str) -> None:
    """In the words of the start, and only with --media."""
    [text] = told(found(media_can_be_served, settings | MEDIA))
    assert text.startswith("(twistserve.W002) ")
    assert named in text
    assert found(media_can_be_served, settings) == []


def test_media_that_can_be_served() -> None:
    """They need not exist yet."""
    assert found(media_can_be_served, {"MEDIA_URL": "/media/", "MEDIA_ROOT": "/files", **MEDIA}) == []


def view(request: Any, name: str) -> Any:
    """A view, which nobody calls."""
    raise NotImplementedError


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A URLconf for a test to fill."""
    module: Any = ModuleType("urls_of_media")
    module.urlpatterns = []
    monkeypatch.setitem(sys.modules, "urls_of_media", module)
    clear_url_caches()
    yield module
    clear_url_caches()


SETTINGS: dict[str, Any] = {"MEDIA_URL": "/media/", "MEDIA_ROOT": "/files", "ROOT_URLCONF": "urls_of_media"}


def test_a_view_below_media(urls: Any) -> None:
    """It is named, with its route; not where the server runs the check, whose start says so itself."""
    urls.urlpatterns += [path("media/<path:name>", view)]
    [text] = told(found(media_hide_no_view, SETTINGS | MEDIA))
    assert text.startswith("(twistserve.W003) --media serves what is below /media/ to everybody")
    assert f"{__name__}.view (media/<path:name>)" in text
    assert "HINT: If it decides who may read a file, leave --media out" in text
    assert found(media_hide_no_view, SETTINGS, server={"media": True}) == []
    assert found(media_hide_no_view, SETTINGS) == []


def test_no_view_below_media(urls: Any) -> None:
    """Django's own does the same as we; a project may have no URLconf, and what cannot be served is told elsewhere."""
    urls.urlpatterns += [path("media/<path:path>", serve), path("other/<path:name>", view)]
    assert found(media_hide_no_view, SETTINGS | MEDIA) == []
    assert found(media_hide_no_view, {"MEDIA_URL": "/media/", "MEDIA_ROOT": "/files", **MEDIA}) == []
    assert found(media_hide_no_view, {"MEDIA_URL": "/media/", **MEDIA}) == []


def test_documents_of_wagtail(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read past its view, unless its view sends nobody a file, or --media is off."""
    for name in ("wagtail", "wagtail.documents"):
        module = ModuleType(name)
        module.__path__ = ["/nowhere"]
        monkeypatch.setitem(sys.modules, name, module)
    settings = {"INSTALLED_APPS": ["wagtail.documents"], "MEDIA_URL": "/media/", "MEDIA_ROOT": "/files"}
    [text] = told(found(media_hide_no_documents, settings | MEDIA))
    assert text.startswith("(twistserve.W014) --media serves /media/documents/ to everybody who knows")
    assert found(media_hide_no_documents, settings | MEDIA | {"WAGTAILDOCS_SERVE_METHOD": "direct"}) == []
    assert found(media_hide_no_documents, settings) == []
    assert found(media_hide_no_documents, {**settings, "INSTALLED_APPS": [], **MEDIA}) == []
