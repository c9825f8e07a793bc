"""Django's system checks before serving, as runserver runs them; in the start-up's thread."""

from __future__ import annotations

from typing import Any

from twistserve.checks.registration import register_checks
from twistserve.errors import StartError
from twistserve.logs import get_logger
from twistserve.project.application import load_urlconf
from twistserve.redaction import redacted

logger = get_logger(__name__)

OF_PROBES = frozenset({"readiness", "liveness", "hurricane"})
"""Tags of checks whose failure is for the probes to tell, for as long as it lasts; it does not end a start."""


def run_system_checks() -> None:
    """Run the checks, without those for deployment and of databases; log what they say. Raises `StartError`.

    Ours are among them, whether the project has installed the application or not.
    """
    from django.core.checks import ERROR
    from django.core.checks.registry import registry
    from django.db import connections

    # Some checks import it, and would say less of what is wrong with it.
    load_urlconf()
    register_checks()
    messages: list[Any] = []
    try:
        for check in registry.get_checks(include_deployment_checks=False):
            if OF_PROBES.isdisjoint(getattr(check, "tags", ())):
                messages += check(app_configs=None, databases=None)
    finally:
        connections.close_all()
    visible = sorted((each for each in messages if not each.is_silenced()), key=lambda each: (-each.level, str(each)))
    serious = [each for each in visible if each.is_serious(ERROR)]
    for each in visible[len(serious) :]:
        # Django's levels are those of logging.
        logger.log(each.level, "system check: %s", redacted(_in_one_line(each)))
    found = f"{len(visible) or 'no'} issue{'' if len(visible) == 1 else 's'}"
    summary = f"System check identified {found} ({len(messages) - len(visible)} silenced)."
    if serious:
        told = " ".join(map(_in_one_line, serious))
        raise StartError(redacted(f"SystemCheckError: System check identified some issues: ERRORS: {told} {summary}"))
    logger.info(summary)


def _in_one_line(message: Any) -> str:
    return " ".join(str(message).split())
