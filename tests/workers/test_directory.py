"""The directory of the workers' metrics: it stays as long as a process holds it, and is removed then."""

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
    """Also where only a worker is left of the service; a directory that no process holds is removed."""
    own = Path(make_directory())
    assert list(own.parent.iterdir()) == [own]
    theirs = own.with_name(f"{PREFIX}theirs")
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
    assert list(own.parent.iterdir()) == [own]


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Other names, files, and the targets of links."""
    other, elsewhere = tmp_path / "other", tmp_path / "elsewhere"
    for each in (other, elsewhere):
        each.mkdir()
        (each / "file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    before = sorted(tmp_path.rglob("*"))
    remove_abandoned()
    assert sorted(tmp_path.rglob("*")) == before
