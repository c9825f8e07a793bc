"""The resources of --mount: found by their dotted names once Django is set up, and put into the router."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.threads import blockingCallFromThread
from twisted.web.resource import IResource

from twistserve.errors import StartError, describe
from twistserve.http.deadlines import Deadlines
from twistserve.http.router import MountRouter
from twistserve.project.dotted import find
from twistserve.resources.groups import groups
from twistserve.resources.handler import ResourceHandler
from twistserve.values import parsed_mount
from twistserve.wsgi.environ import EnvironMaker


class Mounts:
    """What --mount names, to be loaded by a step of the start-up."""

    def __init__(
        self,
        given: Iterable[str],
        root: MountRouter,
        environs: EnvironMaker,
        deadlines: Deadlines | None,
        reactor: Any,
    ) -> None:
        self._given = [parsed_mount(text) for text in given]
        self._root = root
        self._environs = environs
        self._deadlines = deadlines
        self._reactor = reactor

    def load(self) -> None:
        """Import what is named, and mount it; in the thread that has set Django up. Blocks. Raises `StartError`.

        What is to be called is called on the reactor thread, where resources belong.
        """
        # Not before: a daemon has forked by now.
        groups.begin(self._reactor.callFromThread)
        for mount in self._given:
            try:
                found = find(mount.dotted)
                resource = blockingCallFromThread(self._reactor, made, found)
            except StartError as error:
                where = f"--mount: {mount.path}={mount.dotted}"
                raise StartError(f"{where}: {error}{_remedy(error.__cause__)}") from error
            handler = ResourceHandler(mount.path, resource, self._environs, self._deadlines, self._reactor)
            self._root.mount_all(mount.path, handler)

    def check(self, prefixes: Mapping[str, str]) -> None:
        """Refuse a mount among files, whose prefixes by their kind these are. Raises `StartError`."""
        for mount, (kind, prefix) in itertools.product(self._given, prefixes.items()):
            if prefix != "/" and f"{mount.path}/".startswith(prefix):
                raise StartError(
                    f"--mount: {mount.path} would hide what --{kind} serves below {prefix}, the setting"
                    f" {kind.upper()}_URL: give the resource another path"
                )


def made(found: Any) -> IResource:
    """The resource itself, or what a Klein application, or a callable without arguments, makes. Raises `StartError`.

    Reactor thread.
    """
    try:
        candidate = found() if _is_maker(found) else found
        if not IResource.providedBy(candidate):
            make: Callable[[], Any] | None = getattr(candidate, "resource", None)
            candidate = make() if callable(make) else candidate
    except (Exception, SystemExit) as error:
        raise StartError(f"making the resource failed: {describe(error)}") from error
    if not IResource.providedBy(candidate):
        what = "it" if candidate is found else "what it returns"
        raise StartError(
            f"{what} is no resource of twisted.web but a {type(candidate).__name__}: name an IResource, a Klein"
            " application, or a callable without arguments that returns one"
        )
    return candidate


def _is_maker(found: Any) -> bool:
    return callable(found) and not IResource.providedBy(found)


def _remedy(error: BaseException | None) -> str:
    """What to install where that is all that is missing."""
    missing = isinstance(error, ModuleNotFoundError) and error.name == "wsproto"
    return "; WebSockets need twistserve[websocket]: install that" if missing else ""
