"""Django: its settings, its set-up, and the WSGI application."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from twistserve import collector
from twistserve.errors import SettingsError, StartError, describe
from twistserve.logs import get_logger
from twistserve.logs.containment import contain

logger = get_logger(__name__)

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

    configured = django_settings.configured
    if configured:
        module = getattr(django_settings, "SETTINGS_MODULE", None)
        if settings is not None and settings != module:
            raise StartError(f"--settings: {settings!r} comes too late: Django already runs with {module!r}")
    else:
        if settings is not None:
            os.environ[ENVIRONMENT_VARIABLE] = settings
        module = os.environ.get(ENVIRONMENT_VARIABLE)
        if not module:
            raise StartError(f"no settings: give --settings MODULE or set {ENVIRONMENT_VARIABLE}{_hint()}")
    try:
        if not configured:
            # Django imports the module, which may ask for settings meanwhile: those that it gets are of the half that
            # has run, and stay in force if the module is in sys.modules before Django asks for it.
            django_settings.INSTALLED_APPS  # noqa: B018
        elif module is not None and module not in sys.modules:
            # It asked for settings and failed after that, and Django's manage.py goes on with the half that it has.
            importlib.import_module(module)
    except (Exception, SystemExit) as error:
        source = f"--settings from {origin}" if origin else f"the environment variable {ENVIRONMENT_VARIABLE}"
        raise SettingsError(
            f"the settings module {module!r} of {source} cannot be imported: {describe(_without_importers(error))}"
        ) from error
    loaded_setting: Mapping[str, object] = getattr(django_settings, "TWISTSERVE", {})
    return loaded_setting


def _without_importers(error: BaseException) -> BaseException:
    """The error, its traceback begun where Django imports the settings: what called that is not where it comes from."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is importlib.import_module.__code__:
            return error.with_traceback(traceback)
        traceback = traceback.tb_next
    return error


def _hint() -> str:
    """What the manage.py of the current directory would have chosen."""
    try:
        named = re.search(r"DJANGO_SETTINGS_MODULE['\"],\s*['\"]([\w.]+)['\"]", Path("manage.py").read_text())
    except (OSError, ValueError):
        return ""
    return f" (manage.py here uses {named[1]})" if named else ""


def missing_module(dotted: str) -> str | None:
    """The first part of a module's name that does not exist, or None; imports the packages that it is in.

    What these raise travels: that an import fails does not mean that there is no module.
    """
    names = dotted.split(".") if dotted else []
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        if name in sys.modules:
            continue
        parent = sys.modules.get(".".join(names[: end - 1]))
        if (parent is not None and not hasattr(parent, "__path__")) or importlib.util.find_spec(name) is None:
            return name
        if end < len(names):
            importlib.import_module(name)
    return None


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
        from django.db import connections
        from django.utils.module_loading import import_string

        name = self._name or settings.WSGI_APPLICATION
        origin = "--wsgi" if self._name else "the setting WSGI_APPLICATION"
        try:
            # get_wsgi_application() runs django.setup() again.
            with _logging_applied(None):
                if name and not self._name and (missing := missing_module(name.rpartition(".")[0])):
                    logger.warning(
                        "the setting WSGI_APPLICATION is %r, and there is no module %r: Django's own application is"
                        " served; correct the setting or remove it",
                        name,
                        missing,
                    )
                    name = None
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
        load_urlconf()
        # The thread of the start-up may live on, and has no more to ask.
        contain(connections.close_all)
        self._wsgi = application
        collector.settle()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Run one request; called on request threads, after `load`."""
        assert self._wsgi is not None
        return self._wsgi(environ, start_response)


def load_urlconf() -> None:
    """Import the URLconf. Blocks. Raises `StartError`.

    Django imports it with the first request; until then it is not known whether it can.
    """
    from django.conf import settings
    from django.urls import get_resolver

    urlconf = getattr(settings, "ROOT_URLCONF", None)
    if urlconf:
        try:
            get_resolver(urlconf).url_patterns  # noqa: B018
        except (Exception, SystemExit) as error:
            raise StartError(
                f"the URLconf {urlconf!r} of the setting ROOT_URLCONF cannot be imported: {describe(error)}"
            ) from error


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


def is_silenced(check: str) -> bool:
    """Whether SILENCED_SYSTEM_CHECKS names a check; once the settings are loaded."""
    from django.conf import settings

    return check in settings.SILENCED_SYSTEM_CHECKS


def django_version() -> str:
    """The version of Django in use."""
    import django

    return django.get_version()
