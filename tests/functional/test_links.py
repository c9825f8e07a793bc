"""`make links` asks other hosts whether what the documents link to is still there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.functional.harness import BIN, PATIENCE, ROOT


class Pages(BaseHTTPRequestHandler):
    """Another host, with one page."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_request(self, *args: object) -> None:
        pass


@contextmanager
def other_host() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A repository with nothing but how its documents become a site."""
    (tmp_path / "docs" / "_static").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "conf.py", tmp_path / "docs")
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def make_links(documents: Path) -> subprocess.CompletedProcess[str]:
    # The environment that runs the tests counts as set up.
    environment = ["-o", f"{BIN.parent}/tested", f"VENV={BIN.parent}", f"BIN={BIN}"]
    command = ["make", "--no-print-directory", *environment, "links"]
    return subprocess.run(command, cwd=documents, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_dead_link_is_told_and_fails(documents: Path) -> None:
    """With its page and line, of the site's pages and of the other documents; one that is there is not."""
    with other_host() as host:
        (documents / "docs" / "index.md").write_text(f"# Site\n\n[good]({host}/good)\n\n[dead]({host}/dead)\n")
        (documents / "README.md").write_text(f"# Read me\n\n[dead]({host}/gone), <http://localhost:8001/>\n")
        done = make_links(documents)
    assert done.returncode != 0
    broken = [line for line in done.stderr.splitlines() if "broken link" in line]
    assert len(broken) == 2, done.stderr
    assert any("docs/index.md:5" in line and f"{host}/dead" in line for line in broken)
    assert any("README.md:3" in line and f"{host}/gone" in line for line in broken)
