"""The checks of django-health-check 4, https://github.com/codingjoe/django-health-check."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from twistserve.errors import StartError, describe
from twistserve.probes.checks import PASSED, Result, Status
from twistserve.probes.databases import own_connections

MAJOR = 4
"""The supported major version, and the least."""


def health_checks(dotted: str, seconds: float) -> Iterator[tuple[str, partial[Result]]]:
    """The checks with their names in answers: those of `dotted`, else of the project's views, else the package's own.

    `dotted` names a check class, a HealthCheckView, or a function that makes checks. Django is loaded. `seconds` is
    the deadline. Raises `StartError` where that cannot be.
    """
    _require()
    try:
        # Two views may have the same check.
        checks = {repr(check): check for check in _made_by(dotted) or _of_views()}
    except (Exception, SystemExit) as error:
        option = f"health-check={dotted}" if dotted else "health-check"
        raise StartError(f"--check: the checks of {option!r} cannot be made: {describe(error)}") from error
    for check in checks.values():
        if not callable(getattr(check, "run", None)):
            raise StartError(
                f"--check: 'health-check={dotted}' makes {check!r}, which is no check of django-health-check"
            )
        alias = getattr(check, "alias", None)
        name = f"health-check:{type(check).__name__}"
        yield f"{name}:{alias}" if isinstance(alias, str) else name, partial(_run, check, seconds)


def _require() -> None:
    try:
        found = version("django-health-check")
    except PackageNotFoundError:
        found = ""
    if not found or int(found.partition(".")[0]) < MAJOR:
        have = f"is {found}" if found else "is not installed"
        raise StartError(
            f"--check: 'health-check' needs django-health-check {MAJOR}, which {have}:"
            f" pip install 'django-health-check>={MAJOR}'"
        )


def _made_by(dotted: str) -> list[Any]:
    from django.utils.module_loading import import_string
    from health_check.views import HealthCheckView

    if not dotted:
        return []
    named = import_string(dotted)
    if isinstance(named, type) and issubclass(named, HealthCheckView):
        return list(named().get_checks())
    made = named()
    return list(made) if isinstance(made, Iterable) else [made]


def _of_views() -> list[Any]:
    """The checks of every HealthCheckView in the URLconf, or those that such a view has by default."""
    from django.conf import settings
    from django.urls import get_resolver
    from health_check.views import HealthCheckView

    urlconf = getattr(settings, "ROOT_URLCONF", None)
    views = list(_views(get_resolver(urlconf).url_patterns)) if urlconf else []
    return [check for view in views or [HealthCheckView()] for check in view.get_checks()]


def _views(patterns: Iterable[Any]) -> Iterator[Any]:
    from health_check.views import HealthCheckView

    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from _views(pattern.url_patterns)
            continue
        kind = getattr(pattern.callback, "view_class", None)
        if isinstance(kind, type) and issubclass(kind, HealthCheckView):
            yield kind(**pattern.callback.view_initkwargs)


def _run(check: Any, seconds: float) -> Result:
    from health_check.exceptions import HealthCheckException, ServiceWarning

    try:
        with own_connections():
            if inspect.iscoroutinefunction(check.run):
                asyncio.run(asyncio.wait_for(check.run(), seconds))
            else:
                check.run()
    except HealthCheckException as error:
        # What it says may name hosts and files.
        status = Status.WARN if isinstance(error, ServiceWarning) else Status.FAIL
        return Result(status, output=error.message_type, detail=str(error))
    return PASSED
