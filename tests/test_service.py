"""From options to a tree of services: what is told of bad ones, and what twistd's own options have to do with it."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import twisted.internet

from tests.support.composition import Log, Reactor
from twistserve import service as module
from twistserve.command_line import CommandLine
from twistserve.development.inheritance import Inheritance, Inherited
from twistserve.errors import SettingsError, StartError
from twistserve.logs.observer import RecordingObserver
from twistserve.logs.output import FileOutput
from twistserve.process.first_process import FirstProcess
from twistserve.service import compose, makeService


class Ending:
    """In place of the process's end: notes what it is told."""

    def __init__(self, first: Any = None) -> None:
        self.first = first
        self.early = self.failed = False
        self.granted = 0.0
        self.pid_file = ""

    def take_early_signals(self) -> None:
        self.early = True

    def fail_early(self) -> None:
        self.failed = True

    def end_early(self, status: int) -> None:
        self.status = status

    def grant(self, seconds: float) -> None:
        self.granted = seconds

    def follow(self, lifecycle: Any, reactor: Any) -> None:
        pass


class Bench:
    """Composes with fakes for what is composed; `kind` tells which of them it was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ending = Ending()
        self.setting: Any = {}
        self.notices: list[str] = []
        self.configuration: Any = None
        self.kind = ""
        self.before: list[str] = []
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        monkeypatch.setattr(logging, "lastResort", logging.lastResort)
        monkeypatch.setattr(twisted.internet, "reactor", Reactor(), raising=False)
        monkeypatch.setattr(module, "load_settings", self.load_settings)
        monkeypatch.setattr(module, "is_silenced", lambda check: False)
        monkeypatch.setattr(module, "LogService", self.make_log)
        monkeypatch.setattr(module, "Ending", self.make_ending)
        monkeypatch.setattr(module, "leave_first_process", self.leave_first_process)
        monkeypatch.setattr(module, "one_process", self.composer("one process"))
        monkeypatch.setattr("twistserve.composition.parent.parent", self.composer("parent"))
        monkeypatch.setattr("twistserve.composition.autoreload.autoreload_parent", self.composer("autoreload"))
        monkeypatch.setattr("twistserve.composition.autoreload.autoreload_child", self.composer("reloaded"))
        monkeypatch.setattr(Inherited, "value", None)
        for name in [name for name in os.environ if name.startswith(("TWISTSERVE_", "HURRICANE_", "KUBERNETES_"))]:
            monkeypatch.delenv(name)

    def load_settings(self, *arguments: Any) -> Any:
        if isinstance(self.setting, Exception):
            raise self.setting
        return self.setting

    def make_log(self, level: str, *arguments: Any, notices: Any, output: Any) -> Log:
        self.level, self.notices, self.output = level, notices, output
        return Log()

    def make_ending(self, first: Any = None) -> Ending:
        self.ending.first = first
        return self.ending

    def leave_first_process(self) -> Any:
        self.before.append("the first process")
        return "a first process"

    def composer(self, kind: str) -> Any:
        def composed(configuration: Any, *arguments: Any) -> Any:
            self.configuration, self.kind, self.arguments = configuration, kind, arguments
            return SimpleNamespace(log_observer=None)

        return composed

    def compose(self, *arguments: Any, **given: Any) -> Any:
        ending: Any = self.ending
        return compose(given, ending, *arguments)

    def make_service(self, **runner: Any) -> Any:
        """The service that twistd makes, whose own options are `runner`."""
        options: Any = CommandLine()
        options.parent = runner
        return makeService(options)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


# Composing


@pytest.mark.parametrize(
    ("given", "setting", "told"),
    [
        ({"port": "abc"}, {}, "--port: 'abc' from the command line is not valid"),
        ({}, {"THREADS": 0}, "--threads: 0 from the setting TWISTSERVE['THREADS'] is not valid"),
        ({}, {"PROT": 8000}, "the setting TWISTSERVE has an unknown key 'PROT': did you mean 'PORT'?"),
    ],
)
def test_bad_options_end_the_process_with_one_line(bench: Bench, given: Any, setting: Any, told: str) -> None:
    """Python ends with status 1 for a SystemExit with text, and the rest of the end is held to its time."""
    bench.setting = setting
    with pytest.raises(SystemExit) as raised:
        bench.compose(**given)
    assert str(raised.value.code).startswith(f"twistserve: {told}")
    assert "\n" not in str(raised.value.code)
    assert bench.ending.failed
    assert bench.kind == ""


def test_a_log_that_cannot_be_written_is_told_in_the_same_way(bench: Bench) -> None:
    """It is opened before the settings are imported."""

    def make_output() -> None:
        raise StartError("--logfile: '/log' cannot be opened: Permission denied")

    bench.setting = {"PROT": 8000}
    with pytest.raises(SystemExit, match="twistserve: --logfile"):
        bench.compose(make_output)
    assert bench.ending.failed


@pytest.mark.parametrize(("given", "kind"), [({}, "one process"), ({"workers": "2"}, "parent")])
def test_workers_have_a_parent(bench: Bench, given: Any, kind: str) -> None:
    """One process alone has none."""
    bench.compose(**given)
    assert bench.kind == kind


def test_the_end_may_take_as_long_as_the_options_say(bench: Bench) -> None:
    """The delay of the drain, and then the time of the requests in flight."""
    bench.compose(drain_delay="5", graceful_timeout="20")
    assert bench.ending.granted == 25


def test_defaults_give_way_to_what_is_configured(bench: Bench) -> None:
    """manage.py serve runs the system checks unless it is told otherwise."""
    bench.compose(lambda: None, {"system_checks": True})
    assert bench.configuration.system_checks
    bench.setting = {"SYSTEM_CHECKS": False}
    bench.compose(lambda: None, {"system_checks": True})
    assert not bench.configuration.system_checks


def test_what_one_probe_means_is_told(bench: Bench) -> None:
    """Where there is one."""
    bench.compose(probe="/health")
    [notice] = bench.notices
    assert notice.startswith("--probe: /health is readiness and liveness in one")
    bench.compose(probe="/health", no_probe=True)
    assert bench.notices == []


def test_a_readiness_that_always_fails_is_told(bench: Bench) -> None:
    """And where it comes from."""
    bench.compose(req_queue_len="0")
    assert bench.notices == [
        "--req-queue-len: 0 from the command line makes the readiness probe fail always; give 1 or more"
    ]
    bench.compose(req_queue_len="0", no_probe=True)
    assert bench.notices == []


def test_names_of_django_hurricane_are_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables and settings, which are read once ours are loaded."""
    monkeypatch.setenv("HURRICANE_PORT", "9000")
    monkeypatch.setattr(module, "read_settings", lambda names: {"PROBE_PORT": 9001})
    bench.compose()
    assert bench.configuration.port == 9000
    variable, setting = bench.notices
    assert "HURRICANE_PORT" in variable
    assert "PROBE_PORT" in setting
    bench.setting = {"HURRICANE_SETTINGS": True}
    bench.compose(workers="2")
    assert bench.kind == "parent"
    assert [notice.partition(":")[0] for notice in bench.notices][-1] == "--workers"


def test_variables_that_are_not_options_are_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was probably meant; what Kubernetes sets beside a Service named twistserve is not told."""
    monkeypatch.setenv("TWISTSERVE_PROT", "8000")
    monkeypatch.setenv("TWISTSERVE_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ", "1")
    monkeypatch.setenv("TWISTSERVE_SERVICE_HOST", "10.0.0.1")
    silenced: list[str] = []
    monkeypatch.setattr(module, "is_silenced", silenced.__contains__)
    bench.compose()
    assert bench.notices == [
        "the environment variable TWISTSERVE_PROT is not a known option (did you mean TWISTSERVE_PORT?)",
        "the environment variable TWISTSERVE_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ is not a known option; see --help",
    ]
    silenced.append("twistserve.W011")
    bench.compose()
    assert bench.notices == []


# Printing the options


class Unwritable(io.StringIO):
    """In place of standard output: a full disk."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def printed(bench: Bench, *words: str, **runner: Any) -> Any:
    """The status or the line that twistd ends with, which has these words."""
    options: Any = CommandLine()
    options.parseOptions(list(words))
    options.parent = runner or {"nodaemon": True}
    with pytest.raises(SystemExit) as raised:
        makeService(options)
    assert (bench.kind, bench.before, bench.ending.early) == ("", [], False), "nothing is begun"
    return raised.value.code


def test_options_are_printed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, and then the process ends with status 0, in time."""
    assert printed(bench, "--print-options", "--port", "9000") == bench.ending.status == 0
    out, err = capsys.readouterr()
    assert "--port" in out
    assert err == ""
    assert printed(bench, "--print-options-json", "--port", "9000") == 0
    assert json.loads(capsys.readouterr().out)["PORT"]["value"] == 9000


def test_a_log_file_is_not_opened(bench: Bench, tmp_path: Any) -> None:
    """Nor would a daemon's standard output be refused."""
    assert printed(bench, "--print-options", nodaemon=False, logfile=str(tmp_path / "log"), pidfile="pid") == 0
    assert list(tmp_path.iterdir()) == []


def test_what_settings_print_is_not_among_the_options(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program reads them. Nor is what would be a warning of the log."""

    def load_settings(*arguments: Any) -> Any:
        sys.stdout.write("importing the settings\n")
        return {}

    monkeypatch.setattr(module, "load_settings", load_settings)
    monkeypatch.setenv("TWISTSERVE_PROT", "8000")
    monkeypatch.setenv("TWISTSERVE_PRINT_OPTIONS", "true")
    printed(bench, "--print-options-json")
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert err.splitlines() == [
        "importing the settings",
        "twistserve: the environment variable TWISTSERVE_PRINT_OPTIONS has no effect:"
        " --print-options is for the command line alone",
        "twistserve: the environment variable TWISTSERVE_PROT is not a known option (did you mean TWISTSERVE_PORT?)",
    ]


def test_options_that_cannot_be_printed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad ones, or for want of somewhere to print to: one line, and status 1."""
    assert str(printed(bench, "--print-options", "--port", "x")).startswith("twistserve: --port: 'x' from the command")
    assert bench.ending.failed
    monkeypatch.setattr("sys.stdout", Unwritable())
    said = printed(bench, "--print-options")
    assert said == "twistserve: the options cannot be printed: No space left on device"


def test_an_encoding_without_the_characters(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written as escapes."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert printed(bench, "--print-options", "--command", "seed --quick") == 0
    assert rb"seed \u2026" in written.getvalue()


# twistd


def test_twistd_in_the_foreground(bench: Bench) -> None:
    """It may be the first process of a container, which a child goes on for; its log is standard output's."""
    tree = bench.make_service(nodaemon=True, logfile=None, syslog=None, logger=None, pidfile="")
    assert bench.before == ["the first process"]
    assert (bench.ending.first, bench.ending.early, bench.ending.pid_file) == ("a first process", True, "")
    assert bench.output is None
    assert isinstance(tree.log_observer, RecordingObserver)


def test_twistd_as_a_daemon(bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent ends at once, so that there is nobody to go on for; it changes its directory after this."""
    monkeypatch.chdir(tmp_path)
    bench.make_service(nodaemon=False, logfile=str(tmp_path / "log"), syslog=None, logger=None, pidfile="twistd.pid")
    assert bench.before == []
    assert isinstance(bench.ending.first, FirstProcess)
    assert bench.ending.pid_file == str(tmp_path / "twistd.pid")
    assert isinstance(bench.output, FileOutput)
    bench.output._file.close()


def test_a_daemon_cannot_log_to_standard_output(bench: Bench) -> None:
    """It is told before the project is imported."""
    with pytest.raises(SystemExit, match="twistserve: --logfile: a daemon cannot log to standard output"):
        bench.make_service(nodaemon=False, logfile="-", syslog=None, logger=None, pidfile="twistd.pid")
    assert bench.kind == ""


def test_twist_is_always_in_the_foreground(bench: Bench) -> None:
    """It has neither a daemon nor a pid file."""
    bench.make_service(fileLogObserverFactory=None)
    assert bench.before == ["the first process"]
    assert bench.ending.pid_file == ""


# --debug


def test_imports_are_timed_from_the_settings_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the start is complete; a start that fails at once leaves nothing behind."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = list(sys.meta_path)
    during: list[int] = []

    def load_settings(*arguments: Any) -> Any:
        during.append(len(sys.meta_path))
        return bench.setting

    monkeypatch.setattr(module, "load_settings", load_settings)
    with pytest.raises(SystemExit):
        bench.compose(debug=True, port="abc")
    assert sys.meta_path == before
    bench.compose(debug=True)
    assert during == [len(before) + 1] * 2
    assert len(sys.meta_path) == len(before) + 1


def test_imports_are_timed_as_soon_as_the_settings_say_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all if nothing does."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = list(sys.meta_path)
    bench.compose()
    assert sys.meta_path == before
    bench.setting = {"DEBUG": True}
    bench.compose()
    assert len(sys.meta_path) == len(before) + 1


# --autoreload

INHERITANCE = Inheritance(1, 1, {}, 0.0, [])
BROKEN = SettingsError("the settings module 'shop' cannot be imported")


@pytest.mark.parametrize("setting", [{}, {"AUTORELOAD": True}])
def test_a_parent_watches(bench: Bench, monkeypatch: pytest.MonkeyPatch, setting: Any) -> None:
    """Wherever it was asked for; what the process that serves says as well is said once."""
    monkeypatch.setenv("TWISTSERVE_PROT", "8000")
    bench.setting = setting
    bench.compose(**({} if setting else {"autoreload": True}))
    assert (bench.kind, bench.level, bench.notices) == ("autoreload", "WARNING", [])


def test_what_is_reloaded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the parent's sockets, and logs all that it would without it, whatever the settings now say of it."""
    monkeypatch.setenv("TWISTSERVE_PROT", "8000")
    monkeypatch.setattr(Inherited, "value", INHERITANCE)
    bench.compose()
    assert (bench.kind, bench.level, len(bench.notices)) == ("reloaded", "INFO", 1)
    assert bench.arguments[0] is INHERITANCE


def test_settings_that_cannot_be_imported_yet(bench: Bench) -> None:
    """The parent waits for them; without it, and in the process that serves, that is an error."""
    bench.setting = BROKEN
    bench.compose(autoreload=True, port="8123")
    assert (bench.kind, bench.configuration.port) == ("autoreload", 8123)
    with pytest.raises(SystemExit, match="twistserve: the settings module 'shop' cannot be imported"):
        bench.compose()


def test_settings_that_can_no_longer_be_imported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that serves ends by that, and the cause can be told."""
    monkeypatch.setattr(Inherited, "value", INHERITANCE)
    bench.setting = BROKEN
    with pytest.raises(SystemExit) as raised:
        bench.compose(autoreload=True)
    assert raised.value.__cause__ is BROKEN
    assert (bench.kind, bench.ending.failed) == ("", True)


def test_a_daemon_is_not_reloaded(bench: Bench) -> None:
    """Nobody would see what it says."""
    with pytest.raises(SystemExit, match=r"twistserve: --autoreload: a daemon .* give twistd -n as well"):
        bench.compose(lambda: None, {}, True, autoreload=True)
    assert bench.kind == ""
    bench.compose(lambda: None, {}, True)
    assert bench.kind == "one process"


@pytest.mark.parametrize("runner", [{"pidfile": "twistd.pid"}, {}, None])
@pytest.mark.parametrize("inheritance", [INHERITANCE, None])
def test_the_pid_file_is_the_parents(monkeypatch: pytest.MonkeyPatch, runner: Any, inheritance: Any) -> None:
    """twistd would refuse to start beside the process whose pid it has; twist knows none."""
    monkeypatch.setattr(Inherited, "value", inheritance)
    monkeypatch.setattr(module, "install_unless_chosen", lambda: None)
    monkeypatch.setattr(module, "keep_installed", lambda: None)
    monkeypatch.setattr(module, "open_closed_streams", lambda: None)
    options = module.Options()
    options.parent = runner
    before = dict(runner or {})
    options.parseOptions(["--port", "8123"])
    assert options.given["port"] == "8123"
    assert runner == ({"pidfile": ""} if inheritance is not None and before else None if runner is None else before)


@pytest.mark.parametrize(
    ("runner", "stays"),
    [
        ({"nodaemon": True}, True),
        ({"nodaemon": True, "rundir": "."}, True),
        ({"nodaemon": True, "rundir": "/srv"}, False),
        ({"nodaemon": True, "uid": 1000}, False),
        ({"nodaemon": True, "chroot": "/srv"}, False),
        ({"nodaemon": False, "syslog": True}, False),
    ],
)
def test_whether_the_process_goes_on_as_it_is(bench: Bench, runner: dict[str, Any], stays: bool) -> None:
    """twistd may change it once it is composed; what is forked before would not follow."""
    bench.setting = {"WORKERS": 2}
    bench.make_service(**runner)
    assert bench.kind == "parent"
    assert bench.arguments[-1] is stays
