"""SQLite as docs/databases.md has it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.functional.harness import PATIENCE, ROOT, Serve, at_once, write_project

VIEWS = """
import threading
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpResponse
from django.urls import path

both = threading.Barrier(2)

@transaction.atomic
def add(request):
    count = Group.objects.count()
    # Both have read before either writes, unless the second waits for the end of the first.
    try:
        both.wait(float(request.GET["patience"]))
    except threading.BrokenBarrierError:
        both.reset()
    Group.objects.create(name=f"{count} {threading.get_ident()}")
    return HttpResponse("added")

urlpatterns = [path("add", add)]
"""
APPS = 'INSTALLED_APPS += ["django.contrib.auth", "django.contrib.contenttypes"]\n'
BY_DEFAULT = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}\n'


def statuses(serve: Serve, directory: Path, databases: str, patience: float) -> list[int]:
    """Of two transactions at a time; the first waits so many seconds for the second to have read."""
    project = write_project(directory, VIEWS, APPS + databases)
    server = serve("--check-migrations-apply", cwd=project, settings="site_settings")
    return sorted(reply.status for reply in at_once(2, lambda: server.get(f"/add?patience={patience}")))


def test_transactions_that_read_and_then_write(serve: Serve, tmp_path: Path) -> None:
    """One of two at a time fails with Django's defaults, and none with the page's options."""
    page = (ROOT / "docs/databases.md").read_text()
    [guided] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "sqlite3" in block]
    assert statuses(serve, tmp_path / "default", BY_DEFAULT, PATIENCE) == [200, 500]
    assert statuses(serve, tmp_path / "guided", guided, 0.2) == [200, 200]
