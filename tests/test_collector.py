"""When Python's garbage collector rests; it is one of a process, so that each case has one of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("own", "then"), [("", "default"), ("gc.set_threshold(70, 7, 7)", "(70, 7, 7)")])
def test_the_collector_waits_for_modules_and_goes_on(own: str, then: str) -> None:
    """What has been imported is not looked through again; a project's own threshold stays, else Python's comes back."""
    program = f"""
import gc
default = gc.get_threshold()
import twistserve.plugin
from twistserve import collector
assert gc.isenabled() and gc.get_freeze_count() > 20_000 and gc.get_threshold()[0] > default[0]
{own}
collector.settle()
assert gc.isenabled() and gc.get_threshold() == {then}
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
