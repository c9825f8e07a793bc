"""Imports are timed, and are what they are without that."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.resources
import importlib.util
import inspect
import sys
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.composition import Reactor
from twistserve.development.slow_imports import Import, ImportTimes, wanted_early
from twistserve.lifecycle import Lifecycle, State


class Clock:
    """Goes on by hand; modules tell it how long they take."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sys, "import_clock", clock, raising=False)
    return clock


@pytest.fixture
def times(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportTimes]:
    """Begun, with a directory of modules named `timed_...`, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    times = ImportTimes(clock)
    times.begin()
    yield times
    times.end()
    for name in [name for name in sys.modules if name.startswith("timed_")]:
        del sys.modules[name]


def write(directory: Path, name: str, seconds: float, more: str = "") -> None:
    (directory / f"{name}.py").write_text(f"import sys\nsys.import_clock.now += {seconds}\n{more}\n")


def rounded(times: ImportTimes) -> list[tuple[str, float, float]]:
    return [(each.name, round(each.own, 3), round(each.cumulative, 3)) for each in times.imports]


def test_own_and_cumulative_time(times: ImportTimes, tmp_path: Path) -> None:
    """What a module imports is not its own time; what is imported already takes none."""
    write(tmp_path, "timed_a", 1, "import timed_b, timed_c")
    write(tmp_path, "timed_b", 2, "import timed_c")
    write(tmp_path, "timed_c", 4)
    importlib.import_module("timed_a")
    assert rounded(times) == [("timed_c", 4, 4), ("timed_b", 2, 6), ("timed_a", 1, 7)]


def test_a_module_is_what_it_is_without(times: ImportTimes, tmp_path: Path) -> None:
    """Its loader and spec, its source and its resources, and it can be reloaded; afterwards nothing is left."""
    package = tmp_path / "timed_package"
    package.mkdir()
    (package / "data.txt").write_text("data")
    write(package, "__init__", 1, "mine = type(__loader__), __spec__.loader is __loader__\ndef f(): pass")
    module: Any = importlib.import_module("timed_package")
    assert module.mine == (importlib.machinery.SourceFileLoader, True)
    assert inspect.getsource(module.f) == "def f(): pass\n"
    assert importlib.resources.files(module).joinpath("data.txt").read_text() == "data"
    importlib.reload(module)
    assert [each.name for each in times.imports].count("timed_package") == 2
    times.end()
    assert "exec_module" not in vars(module.__loader__)
    importlib.reload(module)
    assert [each.name for each in times.imports].count("timed_package") == 2
    assert times not in sys.meta_path


@pytest.mark.parametrize("broken", ["x = = 1", "raise SystemExit(3)", "1 / 0", "import timed_nothing"])
def test_an_import_that_fails(times: ImportTimes, tmp_path: Path, broken: str) -> None:
    """It raises what it raises without, with no line of ours in the traceback, and the next is timed as ever."""
    write(tmp_path, "timed_a", 1, "import timed_broken")
    (tmp_path / "timed_broken.py").write_text(broken)
    raised: list[list[str]] = []
    for _ in range(2):
        try:
            exec("import timed_a", {})
        except BaseException as error:
            raised.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
            assert "timed_a" not in sys.modules
        times.end()
    assert raised[0] == raised[1]
    times.begin()
    write(tmp_path, "timed_c", 4)
    importlib.invalidate_caches()
    importlib.import_module("timed_c")
    assert rounded(times)[-1] == ("timed_c", 4, 4)


def test_modules_that_import_each_other(times: ImportTimes, tmp_path: Path) -> None:
    """Each is executed once."""
    write(tmp_path, "timed_a", 1, "import timed_b")
    write(tmp_path, "timed_b", 2, "import timed_a")
    importlib.import_module("timed_a")
    assert rounded(times) == [("timed_b", 2, 2), ("timed_a", 1, 3)]


def test_what_threads_import_meanwhile_is_their_own(times: ImportTimes, tmp_path: Path) -> None:
    """It is nothing that the importing module of another thread has imported."""
    more = "import threading, importlib\nthread = threading.Thread(target=importlib.import_module, args=['timed_b'])\n"
    write(tmp_path, "timed_a", 1, f"{more}thread.start()\nthread.join()")
    write(tmp_path, "timed_b", 2)
    importlib.import_module("timed_a")
    assert rounded(times) == [("timed_b", 2, 2), ("timed_a", 3, 3)]


def test_an_archive_and_what_is_built_in(times: ImportTimes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All modules of an archive have one loader; a class is left alone."""
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        for name in ("timed_a", "timed_b"):
            archive.writestr(f"{name}.py", "import sys\nsys.import_clock.now += 1")
    monkeypatch.syspath_prepend(str(tmp_path / "modules.zip"))
    importlib.import_module("timed_a")
    importlib.import_module("timed_b")
    assert rounded(times) == [("timed_a", 1, 1), ("timed_b", 1, 1)]
    assert importlib.util.find_spec("timed_nothing") is None
    assert importlib.util.find_spec("_imp") is not None
    assert "exec_module" in vars(importlib.machinery.BuiltinImporter)


def test_a_loader_around_another_counts_once(times: ImportTimes, tmp_path: Path) -> None:
    """As tracers install them (wrapt)."""

    class Around:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def create_module(self, spec: Any) -> None:
            return None

        def exec_module(self, module: Any) -> None:
            self.loader.exec_module(module)

    class Finder:
        def find_spec(self, name: str, path: Any, target: Any) -> Any:
            if name != "timed_a":
                return None
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            spec: Any = importlib.util.find_spec(name)
            spec.loader = Around(spec.loader)
            return spec

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
    sys.meta_path.remove(times)
    times.begin()
    write(tmp_path, "timed_a", 1)
    importlib.import_module("timed_a")
    assert rounded(times) == [("timed_a", 1, 1)]


def test_the_report_has_the_slowest(times: ImportTimes) -> None:
    """Ten of them, by their own time."""
    times.imports = [Import(f"module{number}", number / 10, number) for number in range(12)]
    heading, *lines = times.report().splitlines()
    assert heading.startswith("12 imports of the start took 6.600 s; the slowest")
    assert lines[0] == "   1.100   11.000  module11"
    assert [line.split()[-1] for line in lines] == [f"module{number}" for number in range(11, 1, -1)]
    times.imports = []
    assert times.report() == "no module was imported while imports were timed"


@pytest.mark.parametrize("state", [State.READY, State.DRAINING])
def test_it_ends_with_the_start(times: ImportTimes, caplog: pytest.LogCaptureFixture, state: State) -> None:
    """Whether that succeeds or fails; what it says, it says once."""
    lifecycle = Lifecycle(Reactor())
    with caplog.at_level("INFO", "twistserve.development"):
        times.follow(lifecycle)
        assert times in sys.meta_path
        lifecycle.enter(state, "a test")
        lifecycle.enter(State.STOPPED, "a test")
    assert times not in sys.meta_path
    assert caplog.messages.count("no module was imported while imports were timed") == 1


@pytest.mark.parametrize(
    ("given", "environ", "wanted"),
    [
        ({}, {}, False),
        ({"debug": True}, {}, True),
        ({}, {"TWISTSERVE_DEBUG": "1"}, True),
        ({}, {"TWISTSERVE_DEBUG": "off"}, False),
        ({}, {"TWISTSERVE_DEBUG": ""}, False),
        ({}, {"TWISTSERVE_DEBUG": "perhaps"}, False),
    ],
)
def test_what_is_known_before_the_settings(given: dict[str, Any], environ: dict[str, str], wanted: bool) -> None:
    """The command line and the environment; what is not valid is told by others."""
    assert wanted_early(given, environ) is wanted
