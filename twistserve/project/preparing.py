"""What is to run once before an instance serves, however many processes it has: checks, commands, migrations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twistserve.checks.in_force import judged_by
from twistserve.options import Configuration
from twistserve.project.startup import Progress, Step, command_steps

APPLYING, WAITING = "applying migrations", "waiting for migrations"
"""The steps of --check-migrations-apply and --check-migrations."""


def is_asked_for(configuration: Configuration) -> bool:
    """Whether there is anything to run."""
    wanted = configuration.check_migrations or configuration.check_migrations_apply or configuration.system_checks
    return bool(wanted or configuration.command)


def preparing_steps(configuration: Configuration, progress: Progress) -> list[Step]:
    """The steps, once Django is set up: the commands may need the tables, or make them for those who wait."""
    return [(name, partial(_run, step, configuration)) for name, step in _steps(configuration, progress)]


def _run(step: Callable[[], None], configuration: Configuration) -> None:
    # A command may run checks as well.
    with judged_by(configuration):
        step()


def _steps(configuration: Configuration, progress: Progress) -> list[Step]:
    steps: list[Step] = []
    if configuration.system_checks:
        from twistserve.project.system_checks import run_system_checks

        steps.append(("running the system checks", run_system_checks))
    commands = command_steps(configuration.command)
    if configuration.check_migrations_apply or configuration.check_migrations:
        from twistserve.project.migrations import apply_migrations, wait_for_migrations

        if configuration.check_migrations_apply:
            return [*steps, (APPLYING, lambda: apply_migrations(progress)), *commands]
        return [*steps, *commands, (WAITING, lambda: wait_for_migrations(progress))]
    return [*steps, *commands]
