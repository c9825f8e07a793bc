"""Starts that cannot succeed: status 1 and one line on standard error that says what to mend."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.functional.harness import Serve, assert_failed, free_port

RUNNERS = ("twistd", "twist", "manage")
TWISTED_RUNNERS = ("twistd", "twist")
"""manage.py imports the settings itself, before `serve` has a say."""


Project = Callable[..., Path]
Fail = Callable[..., str]


@pytest.fixture(autouse=True)
def _end_daemons(tmp_path: Path) -> Iterator[None]:
    """Kill a daemon that started although it should not have."""
    yield
    for pid_file in tmp_path.rglob("twistd.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)


@pytest.fixture
def fail(serve: Serve, project: Project) -> Fail:
    """Start the project, or another in `cwd`, and return the one line that it fails with, naming all of `named`."""

    def starter(*args: str, named: tuple[str, ...], settings: str | None = "site_settings", **kwargs: object) -> str:
        cwd = kwargs.pop("cwd", None) or project()
        return assert_failed(serve(*args, cwd=cwd, settings=settings, until=None, **kwargs), *named)

    return starter


@pytest.fixture
def taken() -> Iterator[Callable[[int], None]]:
    """Let the test itself listen on a port."""
    listeners: list[socket.socket] = []

    def take(port: int) -> None:
        listeners.append(socket.create_server(("127.0.0.1", port)))

    yield take
    for listener in listeners:
        listener.close()


def case(name: str, *values: object) -> object:
    return pytest.param(*values, id=name)


# Options

BAD_LINES = [
    case("unknown", ["--prot", "8000"], ["--prot", "--port"]),
    case("unknown-probe", ["--rediness-probe=/r"], ["--rediness-probe", "--readiness-probe"]),
    case("unlike-any", ["--xyzzy"], ["--xyzzy"]),
    case("no-value", ["--threads"], ["--threads"]),
    case("flag-with-value", ["--static=yes"], ["--static"]),
    case("positional", ["bookshop"], ["bookshop"]),
    case("port-word", ["--port", "abc"], ["--port", "abc"]),
    case("port-0", ["--port", "0"], ["--port", "0"]),
    case("port-too-high", ["--port", "99999"], ["--port", "99999"]),
    case("port-negative", ["--port", "-1"], ["--port", "-1"]),
    case("port-empty", ["--port", ""], ["--port"]),
    case("port-without-successor", ["--port", "65535"], ["--probe-port", "65535"]),
    case("probe-port-word", ["--probe-port=http"], ["--probe-port", "http"]),
    case("probe-port-too-high", ["--probe-port", "65536"], ["--probe-port", "65536"]),
    case("same-ports", ["--port", "8765", "--probe-port", "8765", "--workers", "2"], ["--probe-port", "8765"]),
    case("threads-0", ["--threads", "0"], ["--threads", "0"]),
    case("threads-fraction", ["--threads", "2.5"], ["--threads", "2.5"]),
    case("req-queue-len-word", ["--req-queue-len", "many"], ["--req-queue-len", "many"]),
    case("check-timeout-negative", ["--check-timeout", "-1"], ["--check-timeout", "-1"]),
    case("check-timeout-nan", ["--check-timeout", "nan"], ["--check-timeout", "nan"]),
    case("check-timeout-word", ["--check-timeout=soon"], ["--check-timeout", "soon"]),
    case("log-level", ["--log-level", "LOUD"], ["--log-level", "LOUD", "INFO", "WARNING"]),
    case("readiness-probe-empty", ["--readiness-probe", ""], ["--readiness-probe"]),
    case("metrics-empty", ["--metrics="], ["--metrics"]),
    case("wsgi-without-dot", ["--wsgi", "application"], ["--wsgi", "application"]),
    case("command-quotes", ["--command", 'migrate "'], ["--command", 'migrate "']),
    case("command-empty", ["--command", ""], ["--command"]),
]


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(("words", "named"), BAD_LINES)
def test_command_line(fail: Fail, runner: str, words: list[str], named: list[str]) -> None:
    """An unusable command line fails, naming the option, its value, and the option that was probably meant."""
    fail(*words, named=tuple(named), runner=runner, port=free_port())


def test_command_line_of_twist(fail: Fail) -> None:
    """The newer runner fails in the same way, though its own habit is another status and a page of usage."""
    fail("--prot", "8000", named=("--prot", "--port"), runner="twist")
    fail("--threads", "0", named=("--threads", "0"), runner="twist")


BAD_VALUES = [
    case("port-word", "PORT", "abc"),
    case("port-0", "PORT", 0),
    case("port-too-high", "PORT", 99999),
    case("threads-0", "THREADS", 0),
    case("check-timeout-negative", "CHECK_TIMEOUT", -1),
    case("log-level", "LOG_LEVEL", "LOUD"),
    case("flag", "STATIC", "maybe"),
    case("wsgi-without-dot", "WSGI", "application"),
    case("command-quotes", "COMMAND", 'migrate "'),
]


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_environment(fail: Fail, runner: str, name: str, value: object) -> None:
    """A bad value in the environment fails with the name of its variable."""
    variable = f"TWISTSERVE_{name}"
    fail(named=(variable, str(value)), runner=runner, env={variable: str(value)}, port=free_port())


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *BAD_VALUES[:-1],
        case("command-quotes", "COMMAND", ['migrate "']),
        case("readiness-probe-empty", "READINESS_PROBE", ""),
        case("port-fraction", "PORT", 80.5),
        case("port-list", "PORT", [8000]),
        case("threads-true", "THREADS", True),
    ],
)
def test_setting(fail: Fail, project: Project, runner: str, name: str, value: object) -> None:
    """A bad value in the Django setting fails with the name of the setting and its key."""
    directory = project(settings=f"TWISTSERVE = {{{name!r}: {value!r}}}\n")
    shown = value[0] if isinstance(value, list) else value
    fail(named=("TWISTSERVE", name, str(shown)), runner=runner, cwd=directory, port=free_port())


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(
    ("setting", "named"),
    [
        case("unknown-key", "{'PROT': 8000}", ["TWISTSERVE", "PROT", "PORT"]),
        case("lower-case-key", "{'threads': 2}", ["TWISTSERVE", "threads", "THREADS"]),
        case("number-as-key", "{1: 2}", ["TWISTSERVE", "1"]),
        case("not-a-dict", "['PORT']", ["TWISTSERVE", "dict"]),
    ],
)
def test_setting_of_the_wrong_shape(fail: Fail, project: Project, runner: str, setting: str, named: list[str]) -> None:
    """The Django setting must be a dictionary of known options."""
    fail(named=tuple(named), runner=runner, cwd=project(settings=f"TWISTSERVE = {setting}\n"))


# Settings and apps


@pytest.mark.parametrize("runner", TWISTED_RUNNERS)
def test_no_settings_at_all(fail: Fail, runner: str) -> None:
    """Without settings the start fails, naming both ways of giving them."""
    fail(named=("--settings", "DJANGO_SETTINGS_MODULE"), runner=runner, settings=None)


@pytest.mark.parametrize("runner", TWISTED_RUNNERS)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        case("import-error", "import no_such_dependency\n", ["other_settings", "no_such_dependency"]),
        case("syntax-error", "DEBUG = True\nDEBUG = = False\n", ["other_settings", "line 2"]),
        case("exception", "import os\nKEY = os.environ['BOOKSHOP_KEY']\n", ["other_settings", "BOOKSHOP_KEY"]),
        case("missing-app", "SECRET_KEY = 'x'\nINSTALLED_APPS = ['no_such_app']\n", ["no_such_app"]),
    ],
)
def test_unusable_settings(fail: Fail, project: Project, runner: str, text: str, named: list[str]) -> None:
    """Settings that cannot be imported or used fail, naming the module and the reason."""
    fail(named=tuple(named), runner=runner, cwd=project(other_settings=text), settings="other_settings")


@pytest.mark.parametrize("runner", TWISTED_RUNNERS)
@pytest.mark.parametrize("source", ["option", "environment"])
def test_missing_settings_module(fail: Fail, runner: str, source: str) -> None:
    """A settings module that does not exist is named, with where its name came from."""
    if source == "option":
        fail("--settings", "nowhere.settings", named=("nowhere", "--settings"), runner=runner)
    else:
        fail(named=("nowhere", "DJANGO_SETTINGS_MODULE"), runner=runner, settings="nowhere.settings")


@pytest.mark.parametrize("runner", TWISTED_RUNNERS)
def test_app_that_is_not_ready(fail: Fail, project: Project, runner: str) -> None:
    """An app that raises in AppConfig.ready fails the start, with what it raised."""
    directory = project(
        settings="INSTALLED_APPS += ['grumpy.Grumpy']\n",
        grumpy=(
            "from django.apps import AppConfig\n"
            "class Grumpy(AppConfig):\n"
            "    name = 'grumpy'\n"
            "    def ready(self):\n"
            "        raise RuntimeError('not before coffee')\n"
        ),
    )
    fail(named=("not before coffee",), runner=runner, cwd=directory)


# The WSGI application


@pytest.mark.parametrize(("runner", "source"), [("twistd", "--wsgi"), ("manage", "WSGI_APPLICATION")])
@pytest.mark.parametrize(
    ("path", "named"),
    [
        case("missing-attribute", "odd_wsgi.aplication", ["odd_wsgi", "aplication"]),  # codespell:ignore aplication
        case("not-callable", "odd_wsgi.application", ["odd_wsgi.application", "callable"]),
        case("raises", "raising_wsgi.application", ["raising_wsgi", "the wheel came off"]),
        case("import-error", "needy_wsgi.application", ["needy_wsgi", "no_such_dependency"]),
        case("syntax-error", "broken_wsgi.application", ["broken_wsgi"]),
        case("package-that-needs", "needy_wsgi.below.application", ["needy_wsgi", "no_such_dependency"]),
        case("package-that-raises", "raising_wsgi.below.application", ["raising_wsgi", "the wheel came off"]),
        case("imports-itself", "self_wsgi.application", ["self_wsgi", "No module named 'self_wsgi.below'"]),
    ],
)
def test_wsgi_application(fail: Fail, project: Project, runner: str, source: str, path: str, named: list[str]) -> None:
    """A WSGI application that cannot be loaded fails, naming the path, where it came from, and the reason."""
    directory = project(
        settings=f"WSGI_APPLICATION = {path!r}\n" if source == "WSGI_APPLICATION" else "",
        odd_wsgi="application = 'not an application'\n",
        raising_wsgi="raise RuntimeError('the wheel came off')\n",
        needy_wsgi="import no_such_dependency\n",
        broken_wsgi="application = = None\n",
        self_wsgi="import self_wsgi.below\n",
    )
    words = ["--wsgi", path] if source == "--wsgi" else []
    fail(*words, named=(source, *named), runner=runner, cwd=directory)


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize("path", ["nowhere.application", "site_urls.wsgi.application"])
def test_a_missing_module_of_wsgi(fail: Fail, project: Project, runner: str, path: str) -> None:
    """What --wsgi names must exist, even where the settings' application would do."""
    fail("--wsgi", path, named=("--wsgi", path, path.rpartition(".")[0]), runner=runner, cwd=project())


# Ports and addresses


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("host", ["", "127.0.0.1"], ids=["all-interfaces", "one-address"])
@pytest.mark.parametrize("which", ["web", "probe"])
def test_port_in_use(fail: Fail, taken: Callable[[int], None], runner: str, host: str, which: str) -> None:
    """A port that is taken, web or probe, fails the start, naming the port."""
    port = free_port()
    in_use = port if which == "web" else port + 1
    taken(in_use)
    words = ["--host", host] if host else []
    fail(*words, "--port", str(port), named=(str(in_use), "in use"), runner=runner, port=port)


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize("option", ["--host", "--probe-host"])
def test_address_of_another_machine(fail: Fail, runner: str, option: str) -> None:
    """An address that this machine does not have is named, with the option that gave it."""
    fail(option, "203.0.113.1", named=(option, "203.0.113.1"), runner=runner)


def test_daemon_says_what_is_wrong_before_it_leaves(fail: Fail, project: Project) -> None:
    """Without -n too, unusable options fail in the command that was typed, and no daemon starts."""
    fail("--threads", "0", named=("--threads", "0"), runner="daemon")
    assert not (project() / "twistd.pid").exists()


def test_daemon_that_cannot_have_its_port(fail: Fail, project: Project, taken: Callable[[int], None]) -> None:
    """Where a port is taken, twistd without -n says so before it forks."""
    directory, port = project(), free_port()
    taken(port)
    fail("--port", str(port), named=(str(port), "in use"), runner="daemon", cwd=directory, port=port)
    assert not (directory / "twistd.pid").exists()


# Commands before serving


@pytest.mark.parametrize("runner", RUNNERS)
def test_failing_command(serve: Serve, example: Path, runner: str) -> None:
    """A --command that fails is named with its reason, its own output is shown, and those after it are not run."""
    server = serve("--command", "prepare --fail", "--command", "seed", runner=runner, cwd=example, until=None)
    assert_failed(server, "prepare --fail", "the shelves are broken")
    assert "preparing" in server.output
    assert "catalogue has books" not in server.output


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(
    ("words", "named"),
    [
        case("unknown", "chek", ["Unknown command"]),  # codespell:ignore chek
        case("bad-argument", "check --quickly", ["--quickly"]),
    ],
)
def test_command_that_cannot_run(fail: Fail, runner: str, words: str, named: list[str]) -> None:
    """A --command that Django does not know, or not with these arguments, is named."""
    fail("--command", words, named=(words, *named), runner=runner)


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(
    ("statement", "named"),
    [
        case("exception", "raise RuntimeError('out of paper')", "out of paper"),
        case("exit", "raise SystemExit(3)", "3"),
    ],
)
def test_command_that_breaks(fail: Fail, project: Project, runner: str, statement: str, named: str) -> None:
    """A --command that raises anything, or exits with a status that is not 0, fails the start."""
    directory = project(settings="INSTALLED_APPS += ['breaking']\n")
    commands = directory / "breaking" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "print_labels.py").write_text(
        "from django.core.management.base import BaseCommand\n"
        "class Command(BaseCommand):\n"
        "    def handle(self, *args, **options):\n"
        f"        {statement}\n"
    )
    fail("--command", "print_labels", named=("print_labels", named), runner=runner, cwd=directory)


# Static and media files


@pytest.mark.parametrize("runner", ["twistd", "manage"])
@pytest.mark.parametrize(
    ("option", "settings", "named"),
    [
        case("static-root-unset", "--static", "STATIC_URL = 'static/'", ["STATIC_ROOT"]),
        case(
            "static-root-missing",
            "--static",
            "STATIC_URL = 'static/'; STATIC_ROOT = BASE_DIR / 'no-such-directory'",
            ["STATIC_ROOT", "no-such-directory"],
        ),
        case(
            "static-root-file",
            "--static",
            "STATIC_URL = 'static/'; STATIC_ROOT = BASE_DIR / 'manage.py'",
            ["STATIC_ROOT", "manage.py"],
        ),
        case("static-url-unset", "--static", "STATIC_ROOT = BASE_DIR", ["STATIC_URL"]),
        case("static-url-root", "--static", "STATIC_URL = '/'; STATIC_ROOT = BASE_DIR", ["STATIC_URL", "'/'"]),
        case(
            "static-url-script-name",
            "--static",
            "STATIC_URL = FORCE_SCRIPT_NAME = '/app/'; STATIC_ROOT = BASE_DIR",
            ["STATIC_URL", "'/app/'"],
        ),
        case("media-root-unset", "--media", "MEDIA_URL = 'media/'", ["MEDIA_ROOT"]),
        case(
            "media-root-file",
            "--media",
            "MEDIA_URL = 'media/'; MEDIA_ROOT = BASE_DIR / 'manage.py'",
            ["MEDIA_ROOT", "manage.py"],
        ),
        case("media-url-unset", "--media", "MEDIA_ROOT = BASE_DIR", ["MEDIA_URL"]),
        case(
            "media-url-elsewhere",
            "--media",
            "MEDIA_URL = '//cdn.example/media/'; MEDIA_ROOT = BASE_DIR",
            ["MEDIA_URL", "//cdn.example/media/"],
        ),
        case(
            "same-url",
            "--static --media",
            "STATIC_URL = MEDIA_URL = 'files/'; STATIC_ROOT = MEDIA_ROOT = BASE_DIR",
            ["STATIC_URL", "MEDIA_URL"],
        ),
    ],
)
def test_files(fail: Fail, project: Project, runner: str, option: str, settings: str, named: list[str]) -> None:
    """--static and --media fail where the settings do not say what to serve, naming the setting."""
    fail(*option.split(), named=tuple(named), runner=runner, cwd=project(settings=f"{settings}\n"))


def test_the_example_without_debug_needs_collectstatic(fail: Fail, example: Path) -> None:
    """In production --static needs the directory that collectstatic fills, and says so."""
    root = example / "static_root"
    root.rename(example / "moved-away")
    fail(
        "--static",
        named=("STATIC_ROOT", str(root), "collectstatic"),
        cwd=example,
        settings="bookshop.settings",
        env={"BOOKSHOP_DEBUG": "0"},
    )
