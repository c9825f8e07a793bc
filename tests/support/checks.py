"""What a check of ours finds in a project's settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

from tests.support.django_settings import unconfigured
from twistserve.checks.in_force import judged_by
from twistserve.resolution import resolve


def found(
    check: Callable[..., list[Any]],
    settings: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    server: Mapping[str, object] | None = None,
) -> list[Any]:
    """The messages of a check with these Django settings and this environment.

    `server` are a server's options, where one runs it.
    """
    options = nullcontext() if server is None else judged_by(resolve(server, {}, lambda *_: {}))
    with unconfigured() as django_settings, patch.dict(os.environ, environ or {}, clear=True), options:
        django_settings.configure(**settings)
        return check(app_configs=None, databases=None)


def told(messages: list[Any]) -> list[str]:
    """The ids, and what is said and to be done, as Django shows them."""
    return [str(message).removeprefix("?: ").replace("\n\t", " ") for message in messages]
