"""Imports Twisted's TLS on first use, so that a process without TLS does not load OpenSSL.

Where pyOpenSSL is installed, Twisted's reactors and AMP import it, which costs each process some 5 MiB
(docs/workers.md). They need it only when a connection begins TLS, and then only call its names or read their
attributes. So these modules get stand-ins for the names. All other code imports the real modules, at any time: no
finder or loader is replaced, and nothing is left in `sys.modules`.

Import this module at the start of a service, before a reactor.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

REACTORS = ("twisted.internet._newtls", "twisted.internet.posixbase")
"""The modules through which Twisted's reactors and their transports import TLS."""
AMP = "twisted.protocols.amp"

_TLS = ("twisted.protocols.tls", "twisted.internet.ssl")


def import_before_tls(*names: str) -> None:
    """Import `REACTORS` or `AMP` without TLS, which they load on first use. Main thread, at the start.

    Does nothing if one of the modules or OpenSSL is imported already, or if OpenSSL is not installed.
    """
    if "OpenSSL" in sys.modules or find_spec("OpenSSL") is None or any(name in sys.modules for name in names):
        return
    stand_ins = {name: _Module(name) for name in _TLS if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        for name in names:
            import_module(name)
    finally:
        for name in stand_ins:
            del sys.modules[name]


class _Module(ModuleType):
    """A stand-in that has every name, as a `LateName`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # The import system looks for these.
            raise AttributeError(name)
        return LateName(self.__name__, name)


class LateName:
    """A name in a module that is imported when the name is called or one of its attributes read. Any thread."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the real object. Raises ImportError."""
        return self._load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)

    def _load(self) -> Any:
        return getattr(import_module(self._module), self._name)


import_before_tls(*REACTORS)
