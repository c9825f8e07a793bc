"""The soak runs, and finds nothing in a few seconds; how long ones go is told by docs/soak.md."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import descendants
from tests.support.functional.harness import PATIENCE, ROOT, wait_for
from tests.support.functional.processes import is_running

COMMAND = [sys.executable, "-m", "benchmarks.soak"]


def test_a_short_soak(tmp_path: Path) -> None:
    """One process, all kinds of clients but the slowest: nothing is lost, wrong or left."""
    output, plot = tmp_path / "report.md", tmp_path / "plot.svg"
    words = [*COMMAND, "3", "--workers=1", "--rate=40", f"--output={output}", f"--plot={plot}", f"--keep={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, ""), output.read_text() if output.exists() else done.stderr
    assert "Lost: 0, wrong: 0" in output.read_text()
    assert plot.read_text().startswith("<svg")


def test_ctrl_c(tmp_path: Path) -> None:
    """Everything that it has started is gone."""
    with (tmp_path / "output").open("w") as output:
        soak = subprocess.Popen([*COMMAND, "600", f"--keep={tmp_path}"], cwd=ROOT, stdout=output, stderr=output)
    try:
        # The tracker of multiprocessing's, the clients, the server with its workers.
        wait_for(lambda: len(list(descendants(soak.pid))) >= 5, "the server and its clients")
        started = list(descendants(soak.pid))
        soak.send_signal(signal.SIGINT)
        assert soak.wait(PATIENCE) == 130, (tmp_path / "output").read_text()
    finally:
        soak.kill()
        soak.wait()
    # The tracker of multiprocessing's ends when it sees the end of its parent.
    wait_for(lambda: not any(map(is_running, started)), "all processes to end")
