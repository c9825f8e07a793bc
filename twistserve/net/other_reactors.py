"""Reactors that the application installs while it is imported, as daphne does: ours stays, and one line says so.

Twisted looks its reactor up anew in many places. With two of them, half of what it does is asked of one that never
runs: webhooks are not delivered, large answers over TLS stand still, and blockingCallFromThread() waits for ever.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

import twisted.internet
from twisted.internet import main
from twisted.internet.epollreactor import EPollReactor

from twistserve.logs import get_logger
from twistserve.net.reactor import Reactor, install

logger = get_logger(__name__)

_install_reactor = main.installReactor
"""Twisted's own."""
_MODULE = "twisted.internet.reactor"
_WARNING_OF_DAPHNE = "Something has already installed a non-asyncio Twisted reactor"
"""It goes on to say that it uninstalls that, which is what is prevented."""


def keep_installed() -> None:
    """From now on the reactor that is installed stays, though another is installed, which Twisted's own guard forbids.

    daphne gets past that guard by removing the module.
    """
    kept = sys.modules[_MODULE]
    warnings.filterwarnings("ignore", _WARNING_OF_DAPHNE, UserWarning)

    def install_reactor(reactor: Any) -> None:
        _make_current(kept)
        if reactor is not kept:
            logger.warning(
                "%s installs another reactor, %s: %s stays, and nothing runs on the other one",
                _installer(),
                _name(reactor),
                _name(kept),
            )

    main.installReactor = install_reactor


def install_in_place_of_others() -> None:
    """Make ours the reactor where manage.py has imported the application first, and keep it.

    Twisted's own default, which an application gets by importing it, and one that has something to do already stay:
    there is only one then, too.
    """
    other = sys.modules.get(_MODULE)
    if other is None:
        install()
    elif not isinstance(other, EPollReactor):
        if _has_work(other):
            _say(other, "the application has installed the reactor %s, and uses it already: it stays", _name(other))
        else:
            del sys.modules[_MODULE]
            ours = install()
            replace(other, ours, modules_with(other))
            _say(
                ours, "the application has installed another reactor, %s: %s takes its place", _name(other), _name(ours)
            )
    keep_installed()


def forget_installed() -> Any:
    """Let another reactor be installed in a forked process, where this one must not be used; the reactor."""
    del twisted.internet.reactor
    main.installReactor = _install_reactor
    return sys.modules.pop(_MODULE)


def _make_current(reactor: Any) -> None:
    sys.modules[_MODULE] = reactor
    twisted.internet.reactor = reactor


def _say(reactor: Any, *line: object) -> None:
    """Log it as soon as there is a log."""
    reactor.callWhenRunning(logger.warning, *line)


def _has_work(reactor: Any) -> bool:
    """Whether somebody waits for this reactor to run."""
    if reactor.running or reactor.getDelayedCalls() or getattr(reactor, "threadCallQueue", None):
        return True
    startup = getattr(reactor, "_eventTriggers", {}).get("startup")
    if startup is not None and (startup.before or startup.after):
        return True
    # What it is woken by is not work.
    idle = set(getattr(reactor, "_internalReaders", ()))
    return bool(reactor.getWriters()) or any(reader not in idle for reader in reactor.getReaders())


def modules_with(reactor: Any) -> list[dict[str, Any]]:
    """The namespaces of modules that have imported a reactor by name."""
    modules = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    return [names for names in modules if any(value is reactor for value in list(names.values()))]


def replace(other: Any, ours: Reactor, modules: Iterable[dict[str, Any]]) -> None:
    """Give modules ours that have imported the other one by name."""
    for names in modules:
        for name in [name for name, value in list(names.items()) if value is other]:
            names[name] = ours


def _installer() -> str:
    """The module that installs a reactor, past Twisted's own."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("twisted."):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "the application"))


def _name(reactor: Any) -> str:
    return f"{type(reactor).__module__}.{type(reactor).__qualname__}"
