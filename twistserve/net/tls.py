"""TLS from a directory of PEM files, with renewed certificates reloaded while serving.

Twisted's own ``tls:`` endpoint keeps the certificates it has first seen until the process ends.
"""

from __future__ import annotations

import time
from typing import Any

from OpenSSL.SSL import Connection, Context
from twisted.internet.endpoints import TCP6ServerEndpoint, _parse, wrapServerTLS
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.protocols._sni import PEMObjects
from twisted.python.filepath import FilePath
from zope.interface import implementer

from twistserve.logs import get_logger

logger = get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the files; only a new connection looks."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """Chooses the certificate by the server name that a client asks for (SNI); reactor thread.

    The directory holds keys and certificates with their chains, in files that are named *.pem. A client that asks
    for no name, or for an unknown one, gets the first. Raises ValueError where there is no usable pair.
    """

    _by_name: dict[str, CertificateOptions]
    _default: Context
    _seen: list[tuple[str, float, int]]
    _looked_at: float

    def __init__(self, directory: str) -> None:
        self._directory: FilePath[str] = FilePath(directory)
        self._load()

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """A connection for a client whose hello is yet to come."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._renew()
        return Connection(self._default, None)

    def _renew(self) -> None:
        try:
            if self._stamp() != self._seen:
                self._load()
                logger.info("reloaded the certificates in %s", self._directory.path)
        except Exception as error:
            # Half-written, perhaps: the old ones serve on, and a later connection looks again.
            logger.warning("the certificates in %s cannot be used: %s", self._directory.path, error)

    def _load(self) -> None:
        self._looked_at = time.monotonic()
        stamp = self._stamp()
        by_name = _without_roots(PEMObjects.fromDirectory(self._directory)).inferDomainMapping()
        if not by_name:
            raise ValueError(f"{self._directory.path} has no certificate with its private key")
        default = next(iter(by_name.values())).getContext()
        default.set_tlsext_servername_callback(self._switch)
        self._by_name, self._default, self._seen = by_name, default, stamp

    def _switch(self, connection: Connection) -> None:
        """Serve the certificate for the name in the client's hello, or one for `*.` and the rest of it."""
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        options = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        if options is not None:
            connection.set_context(options.getContext())

    def _stamp(self) -> list[tuple[str, float, int]]:
        files = sorted(self._directory.children(), key=lambda each: str(each.path))
        for each in files:
            each.restat()
        return [(str(each.path), each.getModificationTime(), each.getsize()) for each in files]


def _without_roots(objects: PEMObjects) -> PEMObjects:
    """Leave out the certificates of authorities that sign themselves.

    Clients have those, and Twisted looks for their issuer for ever.
    """
    keys = {pair.keyHash() for _, pair in objects._keyPairs}
    objects._certificates = [
        (path, each)
        for path, each in objects._certificates
        if each.getIssuer() != each.getSubject() or each.getPublicKey().keyHash() in keys
    ]
    return objects


def tls_endpoint(reactor: Any, description: str) -> Any:
    """The endpoint for ``tls:DIRECTORY:port=443:backlog=50:interface=::``. Raises ValueError or OSError."""
    arguments, options = _parse(description)
    _, directory, *rest = arguments
    port = rest[0] if rest else options.get("port", "443")
    backlog, interface = int(options.get("backlog", "50")), options.get("interface", "::")
    return wrapServerTLS(Certificates(directory), TCP6ServerEndpoint(reactor, int(port), backlog, interface))
