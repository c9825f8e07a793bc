"""Which imports the start spends its time in.

`exec_module` of each loader that is found is replaced on that object, so that `__loader__` and `__spec__` are what they
are without us, and given back at the end. What is imported already is not seen.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from twistserve import values
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs import get_logger
from twistserve.resolution import ENVIRONMENT_PREFIX

logger = get_logger(__name__)

SHOWN = 10


class Import(NamedTuple):
    """Seconds that executing a module took: by itself, and with all that it has imported."""

    name: str
    own: float
    cumulative: float


class Executing:
    """A module that is being executed, in one thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.imported = 0.0
        """Seconds spent in what it has imported."""


class _Threads(threading.local):
    def __init__(self) -> None:
        self.stack: list[Executing] = []
        """The modules that this thread executes, each imported by the one before."""


class ImportTimes:
    """A finder (importlib.abc.MetaPathFinder) that asks the others, and times what they find. Any thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._threads = _Threads()
        self._loaders: list[Any] = []
        self.imports: list[Import] = []

    def begin(self) -> None:
        """Time imports from now on; once is enough."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Leave imports alone again. Those that run go on to be timed."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        while self._loaders:
            vars(self._loaders.pop()).pop("exec_module", None)

    def follow(self, lifecycle: Lifecycle) -> None:
        """End, and log the slowest, once the start is complete or has failed."""

        def over(state: State, reason: str) -> None:
            if state is not State.STARTING and self in sys.meta_path:
                self.end()
                logger.info("%s", self.report())

        lifecycle.observe(over)

    def report(self) -> str:
        """The slowest imports by their own time."""
        slowest = sorted(self.imports, key=lambda each: each.own, reverse=True)[:SHOWN]
        lines = [f"{each.own:8.3f} {each.cumulative:8.3f}  {each.name}" for each in slowest]
        total = sum(each.own for each in self.imports)
        heading = (
            f"{len(self.imports)} imports of the start took {total:.3f} s; the slowest, with seconds by themselves and"
            " with what they import:"
        )
        return "\n".join([heading, *lines]) if lines else "no module was imported while imports were timed"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As importlib asks: what another finder finds."""
        for finder in list(sys.meta_path):
            find: Any = getattr(finder, "find_spec", None)
            if finder is not self and find is not None and (spec := find(name, path, target)) is not None:
                self._watch(spec.loader)
                found: ModuleSpec = spec
                return found
        return None

    def _watch(self, loader: Any) -> None:
        """Replace `exec_module` on a loader of its own for each module, or for each archive; not of a whole class."""
        original = getattr(loader, "exec_module", None)
        if original is None or isinstance(loader, type) or "exec_module" in getattr(loader, "__dict__", ()):
            return
        execute = self._execute

        def exec_module(module: ModuleType) -> None:
            execute(module, original)

        exec_module.__code__ = _as_importlib(exec_module)
        try:
            loader.exec_module = exec_module
        except AttributeError:
            return
        self._loaders.append(loader)

    def _execute(self, module: ModuleType, original: Callable[[ModuleType], None]) -> None:
        stack, name, clock = self._threads.stack, module.__name__, self._clock
        if stack and stack[-1].name == name:
            # A loader that wraps another one.
            original(module)
            return
        me = Executing(name)
        stack.append(me)
        began = clock()
        try:
            original(module)
        finally:
            took = clock() - began
            stack.pop()
            if stack:
                stack[-1].imported += took
            self.imports.append(Import(name, took - me.imported, took))


def _as_importlib(function: Any) -> Any:
    """The code of a function, in whose name Python shows no more lines in tracebacks than for its own imports."""
    return function.__code__.replace(co_filename="<frozen importlib._bootstrap>")


ImportTimes._execute.__code__ = _as_importlib(ImportTimes._execute)


def wanted_early(given: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether --debug is given where that is known before the settings are imported."""
    try:
        return bool(given.get("debug")) or values.boolean(environ.get(f"{ENVIRONMENT_PREFIX}DEBUG", "false"))
    except ValueError:
        # Told with the other options.
        return False
