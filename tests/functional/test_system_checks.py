"""Django's system checks before serving: on under manage.py serve, asked for under twistd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.functional.harness import Serve, assert_failed, lines_with

SETTINGS = """
INSTALLED_APPS += ["till"]
SILENCED_SYSTEM_CHECKS = ["till.W009"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "default.sqlite3"}}
"""
TILL = """
import os
from pathlib import Path
from django.core.checks import Error, Warning, register

HERE = Path(__file__).resolve().parent

@register()
def till_is_closed(app_configs, **kwargs):
    with (HERE / "ran").open("a") as ran:
        ran.write(f"{os.getpid()}\\n")
    found = [Error("The till is open.", hint="Close it.", id="till.E001")] if (HERE / "open").exists() else []
    return [*found, Warning("The till squeaks.", hint="Oil it.", id="till.W002"), Warning("Dust.", id="till.W009")]

@register("database")
def database_check(app_configs, databases, **kwargs):
    return [Error("A database was asked.", id="till.E003")] if databases else []

@register("security", deploy=True)
def deployment_check(app_configs, **kwargs):
    return [Error("This is for deployment.", id="till.E004")]

@register("readiness")
def not_yet(app_configs, **kwargs):
    return [Error("The shop opens at nine.", id="till.E005")] if (HERE / "early").exists() else []
"""
ASKED = pytest.mark.parametrize(
    ("runner", "words"),
    [
        ("manage", []),
        ("manage", ["--workers", "2"]),
        ("twistd", ["--system-checks"]),
        ("twist", ["--system-checks"]),
        ("twistd", ["--system-checks", "--workers", "2"]),
    ],
    ids=["manage", "manage-workers", "twistd", "twist", "twistd-workers"],
)

Project = Callable[..., Path]


@pytest.fixture
def shop(project: Project) -> Path:
    """A project with checks: one finds an error where there is a file `open`, another where there is one `early`."""
    return project(settings=SETTINGS, till=TILL)


def runs(shop: Path) -> int:
    path = shop / "ran"
    return len(path.read_text().splitlines()) if path.exists() else 0


@ASKED
def test_an_error_ends_the_start(serve: Serve, shop: Path, runner: str, words: list[str]) -> None:
    """The start fails with Django's text in one line, before a --command runs; what is silenced is not told."""
    (shop / "open").touch()
    server = serve(
        *(*words, "--command", "diffsettings"), runner=runner, cwd=shop, settings="site_settings", until=None
    )
    line = assert_failed(server)
    assert line == (
        "twistserve: SystemCheckError: System check identified some issues: ERRORS: ?: (till.E001) The till is open."
        " HINT: Close it. System check identified 2 issues (1 silenced)."
    )
    assert "diffsettings" not in server.stdout
    assert len(lines_with(server.stdout, "(till.W002) The till squeaks. HINT: Oil it.")) == 1
    assert "Dust" not in server.output


@ASKED
def test_warnings_are_logged_and_the_checks_run_once(serve: Serve, shop: Path, runner: str, words: list[str]) -> None:
    """Without errors it serves; neither each worker runs the checks, nor are those run that runserver leaves out."""
    server = serve(*words, runner=runner, cwd=shop, settings="site_settings")
    assert runs(shop) == 1
    [line] = lines_with(server.stdout, "till.")
    assert " WARNING " in line
    assert "?: (till.W002) The till squeaks. HINT: Oil it." in line
    assert "System check identified 1 issue (1 silenced)." in server.stdout
    assert "start-up: running the system checks" in server.stdout


@pytest.mark.parametrize(
    ("runner", "words", "env"),
    [
        ("manage", ["--skip-checks"], {}),
        ("manage", [], {"TWISTSERVE_SYSTEM_CHECKS": "off"}),
        ("twistd", [], {}),
        ("twist", [], {}),
    ],
)
def test_checks_that_nobody_asks_for(
    serve: Serve, shop: Path, runner: str, words: list[str], env: dict[str, str]
) -> None:
    """--skip-checks, or the option's variable, leaves the checks out; so do twistd and twist by themselves."""
    (shop / "open").touch()
    serve(*words, runner=runner, cwd=shop, settings="site_settings", env=env)
    assert runs(shop) == 0


def test_a_check_of_the_probes_does_not_end_the_start(serve: Serve, shop: Path) -> None:
    """What readiness waits for may come later: the instance serves, and is not ready until then."""
    (shop / "early").touch()
    server = serve(runner="manage", cwd=shop, settings="site_settings", until="/startup")
    assert server.probe("/ready").status == 503
    (shop / "early").unlink()
    server.wait_until("/ready")


def test_the_urlconf_is_named_where_the_checks_would_import_it(serve: Serve, project: Project) -> None:
    """A URLconf that cannot be imported fails in the same words with the checks as without."""
    directory = project(views="import no_such_dependency\n")
    server = serve(runner="manage", cwd=directory, settings="site_settings", until=None)
    assert_failed(server, "'site_urls' of the setting ROOT_URLCONF", "no_such_dependency")
