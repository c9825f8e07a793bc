"""Where the broker is, from the options; and no credentials in what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as installed
from twisted.internet.endpoints import HostnameEndpoint

from tests.support.amqp import configuration
from tests.support.certificates import write_certificate
from twistserve.amqp.broker import broker_of
from twistserve.errors import StartError

reactor: Any = installed


def test_parts_and_urls() -> None:
    """User and password of the options complete a URL that has none."""
    broker = broker_of(configuration(amqp_host="rabbit", amqp_vhost="shop", amqp_user="u", amqp_password="hush"))
    assert str(broker) == "amqp://rabbit:5672/shop"
    parameters = broker.parameters()
    assert (parameters.host, parameters.port, parameters.virtual_host) == ("rabbit", 5672, "shop")
    assert (parameters.credentials.username, parameters.credentials.password) == ("u", "hush")
    broker = broker_of(configuration({"AMQP_USER": "u"}, amqp_url="amqps://[::1]/?heartbeat=7"))
    assert str(broker) == "amqps://[::1]:5671"
    assert (broker.user, broker.password, broker.parameters().heartbeat) == ("u", "guest", 7)
    broker = broker_of(configuration({"AMQP_USER": "u"}, amqp_url="amqp://me:mine@rabbit"))
    assert (broker.user, broker.password) == ("me", "mine")


def test_credentials_are_not_shown() -> None:
    """Not by a debugger either."""
    broker = broker_of(configuration(amqp_url="amqp://user:hush@rabbit"))
    assert "hush" not in repr(broker)
    assert "hush" not in str(broker)


def test_no_broker() -> None:
    """Every way to name it is said."""
    with pytest.raises(
        StartError, match="give --amqp-url or --amqp-host, or the setting or environment variable AMQP_HOST"
    ):
        broker_of(configuration())


def test_endpoints(tmp_path: Path) -> None:
    """TLS by the system's authorities, or by a file's; with a certificate of our own if the broker wants one."""
    assert isinstance(broker_of(configuration(amqp_host="rabbit")).endpoint(reactor), HostnameEndpoint)
    broker_of(configuration(amqp_url="amqps://rabbit")).endpoint(reactor)
    pem = tmp_path / "all.pem"
    write_certificate(pem, "rabbit")
    files = f"cacertfile={pem}&certfile={pem}&keyfile={pem}"
    broker_of(configuration(amqp_url=f"amqps://rabbit/?{files}")).endpoint(reactor)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """The option is named."""
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    with pytest.raises(StartError, match="the certificates that --amqp-url names cannot be used"):
        broker_of(configuration(amqp_url=f"amqps://rabbit/?cacertfile={broken}")).endpoint(reactor)
