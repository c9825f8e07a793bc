"""Media as they are found: their types and policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test.utils import override_settings
from django.utils.functional import empty

from twistserve.errors import StartError
from twistserve.files import index as module
from twistserve.files.index import MediaIndex


@pytest.fixture(autouse=True, scope="module")
def _configured() -> Iterator[None]:
    """Django without a project, and with the settings it had before afterwards."""
    before, settings._wrapped = settings._wrapped, empty
    settings.configure()
    yield
    settings._wrapped = before


def index(root: Path, url: str | None = "/media/", scripts: bool = False, script_name: str | None = None) -> MediaIndex:
    """An index that is loaded."""
    with override_settings(MEDIA_ROOT=root, MEDIA_URL=url, FORCE_SCRIPT_NAME=script_name):
        media = MediaIndex(scripts)
        media.check_url()
        media.load()
    return media


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("a.html", True),
        ("A.HTM", True),
        ("a.shtml", True),
        ("a.xhtml", True),
        ("a.svg", True),
        ("a.svgz", True),
        ("a.xml", True),
        ("a.rss", True),
        ("a.png", False),
        ("a.txt", False),
        ("a.pdf", False),
        ("a.docx", False),
        ("html", False),
    ],
)
def test_documents_are_in_a_sandbox(tmp_path: Path, name: str, document: bool) -> None:
    """Unless the option says that scripts may run; no type is guessed by the browser."""
    (tmp_path / name).write_text("x")
    for scripts in (False, True):
        fields = dict(index(tmp_path, scripts=scripts).find(name, f"/media/{name}").alternatives[0][2])
        assert fields.get("Content-Security-Policy") == ("sandbox" if document and not scripts else None)
        assert fields["X-Content-Type-Options"] == "nosniff"


def test_what_is_not_there(tmp_path: Path) -> None:
    """Neither what is missing nor a directory is found, also where the root is missing; nothing is made."""
    (tmp_path / "directory").mkdir()
    for name in ("none.txt", "directory", "directory/", ""):
        assert index(tmp_path).find(name, "/media/") is None
        assert index(tmp_path / "later").find(name, "/media/") is None
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize(
    ("url", "script_name", "prefix"),
    [
        ("/media/", None, "/media/"),
        ("media", None, "/media/"),
        ("/app/media/", "/app", "/media/"),
        ("/app/media/", "/app/", "/media/"),
        ("/media/", "/app", "/media/"),
        ("/application/media/", "/app", "/application/media/"),
    ],
)
def test_prefixes(tmp_path: Path, url: str, script_name: str | None, prefix: str) -> None:
    """FORCE_SCRIPT_NAME is taken away, for the web port is asked without it."""
    assert index(tmp_path, url, script_name=script_name).prefix == prefix


@pytest.mark.parametrize(
    ("url", "script_name"),
    [("", None), ("/", None), ("/app/", "/app"), ("https://cdn.example/m/", None), ("//cdn.example/m/", None)],
)
def test_what_cannot_be_served(tmp_path: Path, url: str, script_name: str | None) -> None:
    """The root, which is the application's, and what is another host's."""
    with pytest.raises(StartError, match="MEDIA_URL"):
        index(tmp_path, url, script_name=script_name)


def test_a_view_that_is_hidden_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless the system check that says the same is silenced."""
    monkeypatch.setattr(module, "project_views", lambda prefix: {"shop.view": f"{prefix[1:]}a"})
    media = index(tmp_path)
    with override_settings(SILENCED_SYSTEM_CHECKS=["twistserve.W003"]):
        media.tell()
    assert caplog.messages == []
    media.tell()
    [message] = caplog.messages
    assert "shop.view (media/a)" in message


def test_a_root_that_is_no_path() -> None:
    """It is refused before anything else runs."""
    with override_settings(MEDIA_ROOT=7), pytest.raises(StartError, match="MEDIA_ROOT is 7, which is no path"):
        MediaIndex()


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    """It will not become one."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StartError, match="MEDIA_ROOT"):
        index(tmp_path / "file")
