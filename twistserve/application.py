"""Django: its settings, its set-up, and the WSGI application."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from twistserve.errors import StartError, describe

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]
"""A PEP 3333 application."""


def load_settings(settings: str | None, origin: str | None, pythonpath: str | None) -> Mapping[str, object]:
    """Make the project importable, import its settings module and return the setting ``TWISTSERVE``.

    `origin` says where the name of the settings module came from. Called before twistd forks, so it stops
    short of django.setup(), which may start threads or open connections. Raises `StartError`.
    """
    for directory in (os.getcwd(), pythonpath):
        if directory and os.path.abspath(directory) not in sys.path:
            sys.path.insert(0, os.path.abspath(directory))
    from django.conf import ENVIRONMENT_VARIABLE
    from django.conf import settings as django_settings

    if django_settings.configured:
        loaded = getattr(django_settings, "SETTINGS_MODULE", None)
        if settings is not None and settings != loaded:
            raise StartError(f"--settings: {settings!r} comes too late: Django already runs with {loaded!r}")
    else:
        if settings is not None:
            os.environ[ENVIRONMENT_VARIABLE] = settings
        module = os.environ.get(ENVIRONMENT_VARIABLE)
        if not module:
            raise StartError(f"no settings: give --settings MODULE or set {ENVIRONMENT_VARIABLE}{_hint()}")
        try:
            importlib.import_module(module)
            django_settings.INSTALLED_APPS  # noqa: B018 - evaluates the lazy settings
        except (Exception, SystemExit) as error:
            source = f"--settings from {origin}" if origin else f"the environment variable {ENVIRONMENT_VARIABLE}"
            raise StartError(
                f"the settings module {module!r} of {source} cannot be imported: {describe(error)}"
            ) from error
    loaded_setting: Mapping[str, object] = getattr(django_settings, "TWISTSERVE", {})
    return loaded_setting


def _hint() -> str:
    """What the manage.py of the current directory would have chosen."""
    try:
        named = re.search(r"DJANGO_SETTINGS_MODULE['\"],\s*['\"]([\w.]+)['\"]", Path("manage.py").read_text())
    except (OSError, ValueError):
        return ""
    return f" (manage.py here uses {named[1]})" if named else ""


class DjangoApplication:
    """The project: set up and loaded by the start-up, then called by the request threads."""

    def __init__(self, wsgi: str | None) -> None:
        self._name = wsgi
        self._wsgi: WSGIApplication | None = None

    def set_up(self, applying_logging: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Run django.setup(): logging, apps, models. Blocks. Raises `StartError`.

        The project's LOGGING is applied within `applying_logging`.
        """
        import django
        from django.apps import apps
        from django.conf import settings
        from django.urls import set_script_prefix

        if apps.ready:
            # manage.py has done it, in its thread: only there URLs begin with FORCE_SCRIPT_NAME since.
            if settings.FORCE_SCRIPT_NAME is not None:
                set_script_prefix(settings.FORCE_SCRIPT_NAME)
            return
        try:
            with _logging_applied(applying_logging):
                django.setup()
        except (Exception, SystemExit) as error:
            raise StartError(f"django.setup() failed: {describe(error)}") from error

    def load(self) -> None:
        """Import --wsgi, else WSGI_APPLICATION, else Django's own, and the URLconf. Blocks. Raises `StartError`."""
        from django.conf import settings
        from django.core.wsgi import get_wsgi_application
        from django.urls import get_resolver
        from django.utils.module_loading import import_string

        name = self._name or settings.WSGI_APPLICATION
        origin = "--wsgi" if self._name else "the setting WSGI_APPLICATION"
        try:
            # get_wsgi_application() runs django.setup() again.
            with _logging_applied(None):
                application = import_string(name) if name else get_wsgi_application()
        except (Exception, SystemExit) as error:
            # import_string explains a missing module or attribute; the cause inside the module says more.
            cause = error if error.__cause__ is None else error.__cause__
            reason = describe(cause) if not isinstance(cause, AttributeError) else str(error)
            raise StartError(f"the WSGI application {name!r} of {origin} cannot be loaded: {reason}") from error
        if not callable(application):
            raise StartError(
                f"{name!r} of {origin} is not a WSGI application but a {type(application).__name__}: name a callable"
            )
        # Django imports it with the first request; until then nobody knows whether there can be an answer.
        urlconf = getattr(settings, "ROOT_URLCONF", None)
        if urlconf:
            try:
                get_resolver(urlconf).url_patterns  # noqa: B018
            except (Exception, SystemExit) as error:
                raise StartError(
                    f"the URLconf {urlconf!r} of the setting ROOT_URLCONF cannot be imported: {describe(error)}"
                ) from error
        self._wsgi = application
        # What is loaded by now stays: the collector need not look through it again for the requests' garbage.
        gc.collect()
        gc.freeze()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Run one request; called on request threads, after `load`."""
        assert self._wsgi is not None
        return self._wsgi(environ, start_response)


@contextmanager
def _logging_applied(within: Callable[[], AbstractContextManager[None]] | None) -> Iterator[None]:
    """Have django.setup() apply LOGGING `within` a context, or not at all where that is done.

    Applied again, it closes all handlers of the first time, which may have to send what they hold.
    """
    from django.utils import log

    configure_logging = log.configure_logging

    def configure(logging_config: Any, logging_settings: Any) -> None:
        if within is not None:
            with within():
                configure_logging(logging_config, logging_settings)

    log.configure_logging = configure
    try:
        yield
    finally:
        log.configure_logging = configure_logging


def django_version() -> str:
    """The version of Django in use."""
    import django

    return django.get_version()
