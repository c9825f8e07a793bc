"""Where the broker is and how it is spoken to, from the options; shown without credentials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twistserve.broker_url import BrokerUrl, parsed
from twistserve.consumer_options import ConsumerConfiguration
from twistserve.errors import StartError, describe

GUEST = "guest"
"""User and password of a fresh RabbitMQ, for connections from the same machine."""
CONNECT = 30.0
"""Seconds for a connection, from the look-up of its name to AMQP's handshake."""


@dataclass(frozen=True)
class Broker:
    """A broker; text of it has neither user nor password."""

    url: BrokerUrl
    user: str
    password: str

    def __str__(self) -> str:
        url = self.url
        host = f"[{url.host}]" if ":" in url.host else url.host
        vhost = "" if url.vhost == "/" else f"/{url.vhost}"
        return f"{'amqps' if url.tls else 'amqp'}://{host}:{url.port}{vhost}"

    def __repr__(self) -> str:
        return f"<Broker {self}>"

    def parameters(self) -> Any:
        """What pika wants to know."""
        from pika import ConnectionParameters, PlainCredentials

        given = {} if self.url.heartbeat is None else {"heartbeat": self.url.heartbeat}
        credentials = PlainCredentials(self.user, self.password)
        return ConnectionParameters(
            self.url.host, self.url.port, self.url.vhost, credentials, client_properties=_CLIENT, **given
        )

    def endpoint(self, reactor: Any) -> Any:
        """Twisted's endpoint of it. Reads the files of TLS: raises `StartError` if they cannot be used."""
        from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS

        endpoint = HostnameEndpoint(reactor, self.url.host.encode("idna"), self.url.port, timeout=CONNECT)
        return wrapClientTLS(self._tls(), endpoint) if self.url.tls else endpoint

    def _tls(self) -> Any:
        try:
            from twisted.internet.ssl import (
                Certificate,
                PrivateCertificate,
                optionsForClientTLS,
                trustRootFromCertificates,
            )
        except ImportError as error:
            raise StartError("amqps:// needs pyOpenSSL: install twistserve[tls]") from error
        options: dict[str, Any] = {}
        try:
            if self.url.cacertfile:
                authorities = _certificates(Path(self.url.cacertfile).read_bytes())
                options["trustRoot"] = trustRootFromCertificates([Certificate.loadPEM(each) for each in authorities])
            if self.url.certfile:
                pem = Path(self.url.keyfile).read_bytes() + b"\n" + Path(self.url.certfile).read_bytes()
                options["clientCertificate"] = PrivateCertificate.loadPEM(pem)
            return optionsForClientTLS(self.url.host, **options)
        except Exception as error:
            raise StartError(f"the certificates that --amqp-url names cannot be used: {describe(error)}") from error


_CLIENT = {"product": "twistserve"}
_END = b"-----END CERTIFICATE-----"


def _certificates(pem: bytes) -> list[bytes]:
    """The certificates of a bundle."""
    return [each + _END for each in pem.split(_END)[:-1]]


def broker_of(configuration: ConsumerConfiguration) -> Broker:
    """The broker of --amqp-url, or of --amqp-host and its siblings. Raises `StartError`."""
    if configuration.amqp_url is not None:
        url = parsed(configuration.amqp_url)
    elif configuration.amqp_host is not None:
        url = BrokerUrl(False, configuration.amqp_host, configuration.amqp_port, configuration.amqp_vhost)
    else:
        raise StartError(
            "there is no broker to consume from: give --amqp-url or --amqp-host, or the setting or environment"
            " variable AMQP_HOST"
        )
    # An empty user is one, of brokers that ask for none.
    user = configuration.amqp_user if url.user is None else url.user
    password = configuration.amqp_password if url.password is None else url.password
    return Broker(url, GUEST if user is None else user, GUEST if password is None else password)
