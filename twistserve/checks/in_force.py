"""The options that checks judge by: the server's where it runs the checks, else what environment and setting say.

Django calls a check without telling it anything of a server. So the server says what is in force for as long as it runs
them; a context variable keeps that to the thread that does.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from twistserve.options import Configuration
from twistserve.resolution import resolve, unknown_keys

_of_server: ContextVar[Configuration | None] = ContextVar("twistserve.checks", default=None)


@dataclass(frozen=True)
class InForce:
    """Values of the options, and how sure they are."""

    configuration: Configuration
    by_server: bool
    """Whether the server runs the check."""

    def is_known(self, *names: str) -> bool:
        """Whether one of these options is known; outside the server, a default may be what no command line says."""
        return self.by_server or not self.configuration.sources.keys().isdisjoint(names)


@contextmanager
def judged_by(configuration: Configuration) -> Iterator[None]:
    """Have the checks that this thread runs judge by the server's options."""
    token = _of_server.set(configuration)
    try:
        yield
    finally:
        _of_server.reset(token)


def in_force() -> InForce:
    """The options to judge by. Raises `StartError` where those of the environment or the setting are not valid."""
    configuration = _of_server.get()
    if configuration is not None:
        return InForce(configuration, True)
    setting = twistserve_setting()
    if isinstance(setting, Mapping):
        # They are told of by a check of their own.
        unknown = unknown_keys(setting)
        setting = {key: value for key, value in setting.items() if key not in unknown}
    return InForce(resolve({}, os.environ, lambda *_: setting, read_settings=read_settings), False)


def twistserve_setting() -> Mapping[str, object]:
    """The setting TWISTSERVE, which need not be a dictionary as it should."""
    from django.conf import settings

    setting: Mapping[str, object] = getattr(settings, "TWISTSERVE", {})
    return setting


def read_settings(names: Collection[str]) -> Mapping[str, object]:
    """The settings that there are of these names, Django's defaults among them; none before they are loaded."""
    from django.conf import settings

    if not settings.configured:
        return {}
    return {name: getattr(settings, name) for name in names if hasattr(settings, name)}


def inside_kubernetes() -> bool:
    """Whether this process runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ
