"""`hx` of hendrix, on loopback only: it has no option for the address to listen on."""

from __future__ import annotations

from functools import partialmethod

from hendrix.facilities.services import HendrixTCPService
from hendrix.ux import main

HendrixTCPService.__init__ = partialmethod(HendrixTCPService.__init__, interface="127.0.0.1")

if __name__ == "__main__":
    main()
