"""Views of the project whose URLs `--media` takes: they may be what decides who may read the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NAMES = ("a", "a.txt", "a/b.txt")
"""What is asked for below the prefix."""
_ELSEWHERE = "twistserve-looks-for-views"
"""A segment that no project has a view for: what takes this takes anything, such as the pages of a CMS."""


def project_views(prefix: str) -> dict[str, str]:
    """The `views_below` a prefix of the project in use. Imports its URLconf, and raises what that raises."""
    from django.conf import settings
    from django.urls import get_resolver

    return views_below(prefix, get_resolver()) if getattr(settings, "ROOT_URLCONF", None) else {}


def views_below(prefix: str, resolver: Any) -> dict[str, str]:
    """The views of a resolver that are there for URLs below a prefix, and the route of each.

    Django's own `serve` is none. The prefix begins and ends with a slash.
    """
    found: dict[str, str] = {}
    leaves = list(_leaves(resolver.url_patterns))
    for view, name, regex, route in leaves:
        if _literal(regex).startswith(prefix[1:]) and not _serves_files(view):
            found.setdefault(name, route)
    # What begins with a choice or a pattern has no literal part: see who would answer.
    elsewhere = "/" + f"{_ELSEWHERE}/" * (prefix.count("/") - 1)
    for asked in _NAMES:
        match = _resolved(resolver, prefix + asked)
        if match is not None and not _serves_files(match.func):
            other = _resolved(resolver, elsewhere + asked)
            if other is None or other.route != match.route:
                name = next(name for view, name, _, _ in leaves if view is match.func)
                found.setdefault(name, match.route)
    return found


def _leaves(patterns: Any, before: str = "", route_before: str = "") -> Iterator[tuple[Any, str, str, str]]:
    """Each view with its name, and the regular expression and the route of its whole path."""
    for each in patterns:
        regex = before + each.pattern.regex.pattern.removeprefix("^")
        route = route_before + str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from _leaves(each.url_patterns, regex, route)
        else:
            yield each.callback, each.lookup_str, regex, route


def _literal(regex: str) -> str:
    """What a path must begin with to match."""
    from django.utils.regex_helper import normalize

    # As Django reads it for reverse(): parameters are %(name)s.
    text: str = normalize(regex)[0][0]
    return text.partition("%(")[0].replace("%%", "%")


def _resolved(resolver: Any, path: str) -> Any:
    from django.urls import Resolver404

    try:
        return resolver.resolve(path)
    except Resolver404:
        return None


def _serves_files(view: Any) -> bool:
    """Whether it does the same as we: `django.conf.urls.static.static()` adds it under DEBUG."""
    from django.views.static import serve

    return view is serve
