"""What twistd and twist find; each case in a process of its own, for what is imported stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(program: str, **environ: str) -> None:
    command, environment = [sys.executable, "-c", program], {**os.environ, **environ}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_twistd_finds_djangoserve() -> None:
    """By this name, with our options, whose help begins with them."""
    run("""
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
[found] = [each for each in getPlugins(IServiceMaker) if each.tapname == "djangoserve"]
assert "--probe-port" in found.options().getUsage()
assert found.makeService.__module__ == "twistserve.service"
""")


def test_what_is_imported_counts_in_this_process_alone(tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR our metrics would be files, in a directory that need not be there."""
    run(
        """
import twistserve.plugin
from twistserve.metrics import catalogue
catalogue.client_disconnects.inc()
from prometheus_client import REGISTRY
assert REGISTRY.get_sample_value("twistserve_http_client_disconnects_total") == 1
""",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "gone"),
    )
