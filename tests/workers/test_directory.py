"""The directory of the workers' metrics: whose it is, and who removes it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from twistserve.workers.directory import PREFIX, make_directory, remove_abandoned

HOLDER = """
import sys
from twistserve.workers.directory import hold
hold(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_is_held_stays() -> None:
    """The directory of a process that runs, also where only a worker is left of it; what nobody holds is removed."""
    ours = Path(make_directory())
    assert list(ours.parent.iterdir()) == [ours]
    theirs = ours.with_name(f"{PREFIX}theirs")
    theirs.mkdir()
    (theirs / "counter_1.db").touch()
    words = [sys.executable, "-c", HOLDER, str(theirs)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        remove_abandoned()
        assert theirs.exists()
        holder.kill()
        holder.wait()
    remove_abandoned()
    assert list(ours.parent.iterdir()) == [ours]


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Other names, files, and what a link that somebody has put there leads to."""
    other, elsewhere = tmp_path / "other", tmp_path / "elsewhere"
    for each in (other, elsewhere):
        each.mkdir()
        (each / "file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    before = sorted(tmp_path.rglob("*"))
    remove_abandoned()
    assert sorted(tmp_path.rglob("*")) == before
