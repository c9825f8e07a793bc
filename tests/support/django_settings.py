"""Django's settings as they are before a project has any; modules that Django keeps have the same object always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import LazySettings, settings
from django.utils.functional import empty


@contextmanager
def unconfigured() -> Iterator[LazySettings]:
    """Let there be no settings yet; afterwards they are as before."""
    before = dict(settings.__dict__)
    settings._wrapped = empty
    try:
        yield settings
    finally:
        settings._wrapped = empty
        settings.__dict__.update(before)
