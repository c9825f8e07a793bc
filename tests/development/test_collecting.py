"""What is collected elsewhere and put in its place: which files, and none where something fails."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twistserve.development import collecting as module
from twistserve.development.collecting import CollectingFailed, Collector
from twistserve.development.watched_files import state_of


class Project(Collector):
    """A collector whose collectstatic copies what is newer than its copy, as Django's, from `sources` to `root`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(self.renew)
        self.sources, self.root = directory / "sources", directory / "root"
        self.sources.mkdir()
        self.failure: BaseException | None = None
        self.renewals = 0

    def renew(self, replace: Callable[[], None], storage: Any) -> None:
        self.renewals += 1
        replace()

    def delete(self, name: str) -> None:
        (Path(self.directory) / name).unlink(missing_ok=True)

    def write(self, name: str, text: str) -> Path:
        path = self.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def found(self) -> module.Sources:
        paths = [path for path in self.sources.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.sources)): (str(path), state_of(str(path))) for path in paths}

    def _run(self, storage: Any) -> None:
        for name in self.found():
            copy = Path(self.directory) / name
            if not copy.exists() or copy.stat().st_mtime < (self.sources / name).stat().st_mtime:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text("half")
                if self.failure is not None:
                    raise self.failure
                copy.write_text((self.sources / name).read_text())

    def served(self) -> dict[str, str]:
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_text() for path in paths}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    project = Project(tmp_path)
    monkeypatch.setattr(module, "_storage", lambda directory: (project, str(project.root)))
    monkeypatch.setattr(module, "_sources", project.found)
    monkeypatch.setattr(module, "_reload_manifest", lambda: None)
    yield project
    project.close()


def test_what_has_changed_is_replaced(project: Project) -> None:
    """Files that have not keep their times, and so their ETags."""
    project.write("a.css", "a")
    project.write("css/b.css", "b")
    assert project.collect() == 2
    before = os.stat(project.root / "a.css")
    project.write("css/b.css", "c")
    assert project.collect() == 1
    assert project.served() == {"a.css": "a", "css/b.css": "c"}
    assert os.stat(project.root / "a.css").st_ino == before.st_ino
    assert project.collect() == 0
    # Others may have changed what the index has.
    assert project.renewals == 3


def test_what_is_there_already_stays(project: Project) -> None:
    """From another run; what no source has any more stays too."""
    project.root.mkdir()
    (project.root / "a.css").write_text("a")
    (project.root / "gone.css").write_text("gone")
    project.write("a.css", "a")
    assert project.collect() == 0
    assert project.served() == {"a.css": "a", "gone.css": "gone"}


def test_a_source_that_is_gone(project: Project) -> None:
    """Its copy stays; when somebody removes that it does not come back, as one of another source does."""
    gone = project.write("gone.css", "gone")
    project.write("a.css", "a")
    project.collect()
    gone.unlink()
    assert project.collect() == 0
    assert project.served() == {"a.css": "a", "gone.css": "gone"}
    shutil.rmtree(project.root)
    assert project.collect() == 1
    assert project.served() == {"a.css": "a"}


def test_an_older_source(project: Project) -> None:
    """It is collected though its copy is newer."""
    project.write("a.css", "a")
    project.collect()
    os.utime(project.write("a.css", "b"), (1e9, 1e9))
    assert project.collect() == 1
    assert project.served() == {"a.css": "b"}


def test_two_of_a_size_in_a_second(project: Project) -> None:
    """Their times differ in the seconds, of which ETag and Last-Modified are made."""
    times = []
    for text in "abc":
        project.write("a.css", text)
        project.collect()
        times.append(int(os.stat(project.root / "a.css").st_mtime))
    assert len(set(times)) == 3


def test_a_link_is_replaced(project: Project) -> None:
    """`collectstatic --link` made it: what it leads to is the source, which is not written."""
    source = project.write("a.css", "a")
    project.root.mkdir()
    (project.root / "a.css").symlink_to(source)
    assert project.collect() == 1
    assert not (project.root / "a.css").is_symlink()
    assert source.read_text() == "a"


def test_a_run_that_fails(project: Project, tmp_path: Path) -> None:
    """What is served stays; the next run collects all that it needs. The message is a part of a line."""
    project.write("a.css", "a")
    project.collect()
    project.write("a.css", "b")
    project.failure = ValueError("a reference\n to nothing.")
    with pytest.raises(CollectingFailed, match=r"^ValueError: a reference to nothing$"):
        project.collect()
    assert project.served() == {"a.css": "a"}
    project.failure = None
    assert project.collect() == 1
    assert project.served() == {"a.css": "b"}


def test_a_disk_that_is_full(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are replaced or none, and nothing is left of those that could be copied."""
    project.write("a.css", "a")
    project.write("b.css", "a")
    project.collect()
    project.write("a.css", "b")
    project.write("b.css", "b")
    copied: list[str] = []
    copy = shutil.copy2

    def copy_one(path: str, to: str) -> None:
        if copied:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), to)
        copied.append(to)
        copy(path, to)

    monkeypatch.setattr(shutil, "copy2", copy_one)
    with pytest.raises(CollectingFailed, match="No space left"):
        project.collect()
    assert project.served() == {"a.css": "a", "b.css": "a"}
    monkeypatch.undo()


def test_a_directory_in_the_place_of_a_file(project: Project) -> None:
    """The remedy is said."""
    project.write("a.css", "a")
    (project.root / "a.css").mkdir(parents=True)
    with pytest.raises(CollectingFailed, match="is a directory, and a file is to be in its place: remove it"):
        project.collect()


def test_the_end_of_the_process(project: Project) -> None:
    """Nothing changes any more, and what was collected is removed."""
    project.write("a.css", "a")
    project.cancelled = True
    with pytest.raises(CollectingFailed, match="the process ends"):
        project.collect()
    assert project.served() == {}
    directory = project.directory
    project.close()
    assert not os.path.exists(directory)
