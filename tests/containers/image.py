"""What is in the image of deploy/docker/Dockerfile, and that it serves as it is."""

from __future__ import annotations

import json
import os
import signal

from tests.containers.alone import CONFINED, Container
from tests.containers.images import IMAGE, PODMAN, run
from tests.containers.project import UNWANTED
from tests.support.functional.harness import fetch
from tests.support.functional.processes import children

LOOK = """
import importlib.util, json, os, pathlib, sys
paths = [path for top in ("/app", "/venv") for path in pathlib.Path(top).rglob("*") if not path.is_symlink()]
bytecode = lambda path: os.path.exists(importlib.util.cache_from_source(path))
packages = pathlib.Path(sys.prefix, "lib").glob("python3*/site-packages/*")
print(json.dumps({
    "writable": [str(path) for path in paths if os.access(path, os.W_OK)],
    "unreadable": [str(path) for path in paths if not os.access(path, os.R_OK)],
    "not compiled": [
        str(path) for path in paths
        if path.suffix == ".py" and ("/app/" in str(path) or "/twistserve/" in str(path)) and not bytecode(path)
    ],
    "app": [str(path.relative_to("/app")) for path in paths if path.is_relative_to("/app")],
    "packages": [path.name for path in packages],
    "user": os.getuid(),
}))
"""


def check() -> str:
    """Check files, user, health and command; the size in words."""
    confined = [*PODMAN, "run", "--rm", "--net=host", *CONFINED, IMAGE]
    found = json.loads(run(*confined, "python", "-c", LOOK))
    assert found["user"] == 1000
    assert [*found["writable"], *found["unreadable"], *found["not compiled"]] == []
    assert not set(found["app"]) & {*UNWANTED, "Dockerfile", ".dockerignore"}
    assert {"manage.py", "static_root/admin/css/base.css"} <= set(found["app"])
    assert "twistserve" in found["packages"]
    assert "pip" not in found["packages"]
    [image] = json.loads(run(*PODMAN, "image", "inspect", IMAGE))
    assert image["Config"]["Cmd"][0] == "twistd"
    with Container() as container:
        assert fetch(container.port, "/static/catalogue/style.css").status == 200
        assert b"<h1>" in fetch(container.port, "/").body
        assert container.is_healthy()
        # The check has a deadline of its own.
        [server] = children(container.first)
        os.kill(server, signal.SIGSTOP)
        assert not container.is_healthy()
        os.kill(server, signal.SIGCONT)
        assert container.is_healthy()
        assert container.stop() == 0
        assert "plugin cache" not in container.log()
    return f"{image['Size'] / 1e6:.0f} MB"
