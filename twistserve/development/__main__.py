"""``python -m twistserve.development PROGRAM ARGUMENTS``: a process that --autoreload may start again.

It runs the program as Python does, and tells the parent why that fails, wherever it does so: a manage.py sets the
project up before any of our code is called.
"""

from __future__ import annotations

from twistserve import collector

# isort: split
import os
import runpy
import signal
import sys

from twistserve.development.inheritance import CHANGED, take, tell_failure
from twistserve.errors import describe
from twistserve.process.ending import Ending

collector.resume()


def main() -> None:
    """Run the program; what ends it travels."""
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        if not sys.flags.safe_path:
            sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


def without_us(error: BaseException) -> BaseException:
    """The error, its traceback begun in the program."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        found = found.tb_next
    return error.with_traceback(found)


take(os.environ)
Ending().take_early_signals()
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGHUP))
try:
    main()
except SystemExit as error:
    if error.code not in (None, 0, CHANGED):
        said = str(error.code) if isinstance(error.code, str) else f"{sys.argv[0]} has ended with status {error.code}"
        tell_failure(said, error.__cause__ and (error.__cause__.__cause__ or error.__cause__))
    raise
except BaseException as error:
    without_us(error)
    tell_failure(describe(error), error)
    sys.exit(1)
