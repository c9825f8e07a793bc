"""Twisted's TLS, imported when it is first used: a process that speaks no TLS does without OpenSSL.

Where pyOpenSSL is installed, Twisted's reactors import it, and AMP does, which costs each process some 5 MiB of its own
(docs/workers.md). They use it when a connection begins TLS, by names that they only call or ask for an attribute: so
these modules are given stand-ins for such names. Everybody else gets the modules themselves, whenever they import them:
no finder or loader is replaced, and nothing is left in `sys.modules`.

Import this before a reactor is imported, where a service starts.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

REACTORS = ("twisted.internet._newtls", "twisted.internet.posixbase")
"""What Twisted's reactors and their transports import TLS by."""
AMP = "twisted.protocols.amp"

_TLS = ("twisted.protocols.tls", "twisted.internet.ssl")


def import_before_tls(*names: str) -> None:
    """Import modules of Twisted, with TLS left to when they use it: `REACTORS` or `AMP`. Main thread, at the start.

    Does nothing if they are imported already, or OpenSSL is, or if that is not installed: Twisted does without it then.
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
    """Has whatever name it is asked for, as one that is imported late."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Those that the import system asks for.
            raise AttributeError(name)
        return LateName(self.__name__, name)


class LateName:
    """Something in a module that is imported when it is called or asked for an attribute. Any thread."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it stands for. Raises ImportError."""
        return self._load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)

    def _load(self) -> Any:
        return getattr(import_module(self._module), self._name)


import_before_tls(*REACTORS)
