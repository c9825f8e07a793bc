"""Which views `--media` passes by."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import URLResolver, clear_url_caches, include, path, re_path
from django.urls.resolvers import RegexPattern
from django.views.static import serve

from tests.support.django_settings import unconfigured
from twistserve.files.media_views import project_views, views_below


def view(request: Any, **arguments: object) -> HttpResponse:
    """A view, which nobody calls."""
    raise NotImplementedError


HERE = f"{__name__}.view"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (path("media/<path:name>", view), {HERE: "media/<path:name>"}),
        (path("media/", view), {HERE: "media/"}),
        (path("media/private/<int:number>/", view), {HERE: "media/private/<int:number>/"}),
        (re_path(r"^media/(?P<name>.*)$", view), {HERE: "^media/(?P<name>.*)$"}),
        (re_path(r"media/.*", view), {HERE: "media/.*"}),
        (path("", include([path("media/", include([path("a/<name>", view)]))])), {HERE: "media/a/<name>"}),
        (re_path(r"^(media|files)/(?P<name>.+)$", view), {HERE: "^(media|files)/(?P<name>.+)$"}),
        (re_path(r"^media(?P<name>/.*)$", view), {HERE: "^media(?P<name>/.*)$"}),
        (re_path(r"^(?P<kind>media|files)/(?P<name>.+)$", view), {HERE: "^(?P<kind>media|files)/(?P<name>.+)$"}),
        (path("media/<path:path>", login_required(serve)), {"django.views.static.serve": "media/<path:path>"}),
        (path("media/<path:path>", serve), {}),
        (path("<path:name>", view), {}),
        (path("<kind>/<path:name>", view), {}),
        (re_path("", view), {}),
        (path("mediapage/", view), {}),
        (path("media", view), {}),
        (path("other/media/<path:name>", view), {}),
    ],
    ids=lambda value: str(getattr(value, "pattern", "")) or None,
)
def test_views(pattern: Any, found: dict[str, str]) -> None:
    """Those that are there for URLs below the prefix, not those that take any URL."""
    assert views_below("/media/", URLResolver(RegexPattern("^/"), [pattern])) == found


def test_a_prefix_of_several_segments() -> None:
    """What takes anything at the same depth is none."""
    patterns = [path("a b/media/<path:name>", view), path("<one>/<two>/<path:name>", login_required(view))]
    resolver = URLResolver(RegexPattern("^/"), patterns)
    assert views_below("/a b/media/", resolver) == {HERE: "a b/media/<path:name>"}
    assert views_below("/b/media/", resolver) == {}


def test_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are its URLconf's, if there is one."""
    urls: Any = ModuleType("urls_below_media")
    urls.urlpatterns = [path("media/<path:name>", view)]
    monkeypatch.setitem(sys.modules, "urls_below_media", urls)
    with unconfigured() as settings:
        settings.configure()
        assert project_views("/media/") == {}
        settings.ROOT_URLCONF = "urls_below_media"
        assert project_views("/media/") == {HERE: "media/<path:name>"}
    clear_url_caches()
