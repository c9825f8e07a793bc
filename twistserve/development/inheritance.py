"""What the parent of --autoreload hands to the process that serves, and what that tells it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

VARIABLE = "_TWISTSERVE_RELOADED"
"""The environment variable that holds an `Inheritance` as JSON."""
REPORT, LIFELINE, FIRST_SOCKET = 3, 4, 5
"""Descriptors of the process that serves: where it tells the parent, what only the parent's end closes, the sockets."""
CHANGED = 3
"""The exit status that asks for a restart, which is Django's."""
OPTIONS = ("host", "port", "endpoint", "no_probe", "probe_host", "probe_port")
"""Options that the parent's sockets were made for."""


class Inheritance(NamedTuple):
    """What a process was given: so many sockets of each port, the options they were made for, and since when it runs.

    `started` is the time of day in seconds. `unreliable` files have changed during each start of late. `directory` is
    where the command was given: twistd may have gone elsewhere.
    """

    web: int
    probes: int
    options: dict[str, Any]
    started: float
    unreliable: list[str]
    directory: str = ""

    @property
    def web_sockets(self) -> Sequence[int]:
        """The descriptors of the site's sockets."""
        return range(FIRST_SOCKET, FIRST_SOCKET + self.web)

    @property
    def probe_sockets(self) -> Sequence[int]:
        """Those of the probe port's."""
        return range(FIRST_SOCKET + self.web, FIRST_SOCKET + self.web + self.probes)

    @property
    def descriptors(self) -> Sequence[int]:
        """All that was inherited."""
        return (REPORT, LIFELINE, *self.web_sockets, *self.probe_sockets)


class Inherited:
    """The process's own `Inheritance`, None where there is none; set once, before anything else runs."""

    value: ClassVar[Inheritance | None] = None


def take(environ: MutableMapping[str, str]) -> Inheritance:
    """Take over what the parent has given; no program that is started from here has any of it."""
    values = json.loads(environ.pop(VARIABLE))
    Inherited.value = inheritance = Inheritance(**values)
    if inheritance.directory:
        os.chdir(inheritance.directory)
    for descriptor in inheritance.descriptors:
        os.set_inheritable(descriptor, False)
    return inheritance


def tell(**news: object) -> None:
    """Tell the parent something, in one line; blocks until it has taken it. Nothing if it has ended."""
    line = memoryview(json.dumps(news).encode() + b"\n")
    with suppress(OSError):
        while line:
            line = line[os.write(REPORT, line) :]


def tell_failure(message: str, cause: BaseException | None) -> None:
    """Tell why the project does not start, and which files may mend it; standard error gets the traceback too."""
    text = _traceback(cause) if cause is not None else ""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
    tell(failed=message, traceback=text, files=sorted({*files_of_modules(), *files_of(cause)}))


def _traceback(error: BaseException) -> str:
    """Without our own frames, with which it begins."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_globals.get("__name__", "").startswith("twistserve."):
        found = found.tb_next
    return "".join(traceback.format_exception(type(error), error, found or error.__traceback__))


def files_of_modules() -> set[str]:
    """The files of all modules that have been imported."""
    paths = [_file_of(module) for module in list(sys.modules.values())]
    return {os.path.abspath(path) for path in paths if isinstance(path, str)}


def _file_of(module: object) -> object:
    # Not by getattr: one that is loaded by its first use would be loaded now.
    with suppress(TypeError):
        return vars(module).get("__file__")
    return None


def files_of(error: BaseException | None) -> Iterable[str]:
    """The files that an error, or what has caused it, came through: those that fail are no modules yet."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        names.append(getattr(error, "filename", None) or "")
        for name in names:
            # Unlike Path.is_file it takes a directory that may not be looked into, and what is no path.
            if isinstance(name, str) and os.path.isfile(name):
                yield os.path.abspath(name)
        error = error.__cause__ or error.__context__
