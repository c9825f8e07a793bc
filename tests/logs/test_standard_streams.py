"""Standard streams that were closed when the process began; a child has its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from twistserve.logs.standard_streams import open_closed_streams, standard_output
open_closed_streams()
print("to nobody or somebody")
print("told", file=sys.stderr)
found = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
opened = os.open("/", os.O_RDONLY)
os.write(REPORT, repr([
    [link == "/dev/null" for link in found], standard_output() is None, opened > 2,
    [os.get_inheritable(number) for number in range(3)], sys.stdin.read(),
]).encode())
"""


@pytest.mark.parametrize("closed", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_lead_nowhere(closed: tuple[int, ...]) -> None:
    """Nothing that is printed reaches a file that was opened later, and programs that are started get them too."""
    reading, writing = os.pipe()
    redirected = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    program = PROGRAM.replace("REPORT", str(writing))
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, program],
        stdin=subprocess.PIPE,
        capture_output=True,
        check=False,
        timeout=60,
        pass_fds=[writing],
    )
    os.close(writing)
    with os.fdopen(reading) as report:
        found = report.read()
    assert found == repr([[number in closed for number in range(3)], 1 in closed, True, [True] * 3, ""])
    assert done.returncode == 0
    assert done.stdout == (b"" if 1 in closed else b"to nobody or somebody\n")
    assert done.stderr == (b"" if 2 in closed else b"told\n")
