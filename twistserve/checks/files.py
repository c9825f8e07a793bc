"""Checks of what --static and --media are to serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twistserve.checks.in_force import in_force
from twistserve.checks.messages import check, refusal, warning
from twistserve.errors import StartError
from twistserve.files.index import MediaIndex, StaticIndex
from twistserve.files.media_views import project_views


@check("STATIC_URL", "STATIC_ROOT")
def static_can_be_served() -> Iterator[Any]:
    """--static has the settings that it needs, without which the server does not start."""
    if in_force().configuration.static:
        try:
            StaticIndex().check_url()
        except StartError as error:
            yield refusal(1, error)


@check("MEDIA_URL", "MEDIA_ROOT")
def media_can_be_served() -> Iterator[Any]:
    """--media has the settings that it needs, without which the server does not start."""
    if in_force().configuration.media:
        try:
            MediaIndex().check_url()
        except StartError as error:
            yield refusal(2, error)


@check("ROOT_URLCONF", "MEDIA_URL")
def media_hide_no_view() -> Iterator[Any]:
    """--media takes no URLs from a view of the project; the server's start says so itself."""
    options = in_force()
    if options.by_server or not options.configuration.media:
        return
    media = MediaIndex()
    media.check_url()
    for name, route in project_views(media.prefix).items():
        yield warning(
            3,
            f"--media serves what is below {media.prefix} to everybody, and the project's own view there is never"
            f" called: {name} ({route}).",
            "If it decides who may read a file, leave --media out and let the view send the files.",
        )


@check("INSTALLED_APPS", "MEDIA_URL")
def media_hide_no_documents() -> Iterator[Any]:
    """--media serves no documents of Wagtail past the view that asks who may read them; for check --deploy."""
    from django.conf import settings

    if not in_force().configuration.media or "wagtail.documents" not in settings.INSTALLED_APPS:
        return
    # The others send clients to the file itself.
    if getattr(settings, "WAGTAILDOCS_SERVE_METHOD", None) in (None, "serve_view"):
        media = MediaIndex()
        media.check_url()
        yield warning(
            14,
            f"--media serves {media.prefix}documents/ to everybody who knows or guesses the name of a file, private"
            " collections of Wagtail's documents too: its view, which asks who may read them, is not called.",
            "If there are private collections, leave --media out and let a view send the images. If there are none,"
            " silence this check.",
        )
