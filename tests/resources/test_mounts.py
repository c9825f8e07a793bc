"""What --mount names: found, made, and put into the router; and what is said of the rest."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from klein import Klein
from twisted.internet import threads
from twisted.web.resource import Resource

from tests.support.composition import Reactor
from tests.support.requests import make_request
from twistserve.errors import StartError
from twistserve.http.router import MountRouter
from twistserve.project.dotted import find
from twistserve.resources import mounts
from twistserve.resources.groups import Groups
from twistserve.resources.mounts import Mounts, made
from twistserve.wsgi.environ import EnvironMaker
from twistserve.wsgi.forwarded import TrustedPeers


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A project's module with resources."""
    made_up: Any = ModuleType("shop_live")
    made_up.instance, made_up.Class, made_up.app = Resource(), Resource, Klein()
    made_up.function = Resource
    made_up.nothing = 1
    monkeypatch.setitem(sys.modules, "shop_live", made_up)
    return made_up  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["instance", "Class", "app", "app.resource", "function"])
def test_what_a_name_may_be(module: ModuleType, name: str) -> None:
    """A resource, what makes one, or a Klein application."""
    assert hasattr(made(find(f"shop_live.{name}")), "render")


@pytest.mark.parametrize(
    ("dotted", "said"),
    [
        ("shop_live.absent", "'shop_live' has no 'absent'"),
        ("shop_live.app.absent", "'shop_live.app' has no 'absent'"),
        ("shop_dead.resource", "there is no module 'shop_dead'"),
        ("shop_live.nothing", "it is no resource of twisted.web but a int: name an IResource"),
        ("builtins.dict", "what it returns is no resource of twisted.web but a dict"),
        ("json.loads", "making the resource failed: TypeError"),
        ("sys.exit", "making the resource failed: SystemExit"),
    ],
)
def test_what_it_may_not_be(module: ModuleType, dotted: str, said: str) -> None:
    """Each in a sentence."""
    with pytest.raises(StartError, match=said.replace("(", r"\(")):
        made(find(dotted))


def test_what_is_missing_for_websockets(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how to get it, wherever it is missing."""
    monkeypatch.syspath_prepend(tmp_path)
    missing = "raise ModuleNotFoundError('wsproto', name='wsproto')\n"
    (tmp_path / "shop_sockets.py").write_text(missing)
    (tmp_path / "shop_makes_sockets.py").write_text(f"def resource():\n    {missing}")
    for module in ("shop_sockets", "shop_makes_sockets"):
        with pytest.raises(StartError, match=rf"--mount: /live={module}.resource: .*need twistserve\[websocket\]"):
            loaded(monkeypatch, f"/live={module}.resource")[0].load()


def loaded(monkeypatch: pytest.MonkeyPatch, *given: str) -> tuple[Mounts, MountRouter, list[Any]]:
    monkeypatch.setattr(mounts, "groups", Groups())
    monkeypatch.setattr(mounts, "blockingCallFromThread", lambda reactor, function, *each: function(*each))
    assert threads is not None
    others: list[Any] = []
    router = MountRouter(others.append)
    return Mounts(given, router, EnvironMaker(TrustedPeers([])), None, Reactor()), router, others


def test_where_it_is(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its path and below, and nowhere else; the error of another names the mount."""
    many, router, others = loaded(monkeypatch, "/live=shop_live.instance")
    monkeypatch.setattr(mounts, "groups", groups := Groups())
    many.load()
    groups.send("news", "text")
    assert groups._queued == 4
    router(make_request(b"/lively"))
    assert len(others) == 1
    with pytest.raises(StartError, match=r"--mount: /live=shop_live\.nothing: it is no resource"):
        loaded(monkeypatch, "/live=shop_live.nothing")[0].load()


@pytest.mark.parametrize(("path", "refused"), [("/static", True), ("/static/x", True), ("/s", False), ("/st", False)])
def test_beside_files(monkeypatch: pytest.MonkeyPatch, path: str, refused: bool) -> None:
    """A mount may not hide what --static serves; files below a mount stay where they are."""
    many, _, _ = loaded(monkeypatch, f"{path}=shop_live.instance")
    if refused:
        with pytest.raises(StartError, match=f"{path} would hide what --static serves below /static/"):
            many.check({"static": "/static/", "media": "/"})
    else:
        many.check({"static": "/static/"})


def test_who_mounts_nothing() -> None:
    """Imports neither the server of twisted.web nor what is here."""
    unwanted = {"twisted.web.server", "twisted.web.resource", "wsproto", "twistserve.resources.mounts"}
    code = f"import sys, twistserve.composition.one_process; print(sorted({unwanted} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
