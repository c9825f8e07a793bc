"""The table of a consumer's options: its own, those that it shares, and how they are resolved."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from tests.support.amqp import configuration
from twistserve.consumer_options import CONSUMER_TABLE, ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.in_force import as_text, options_in_force
from twistserve.options import TABLE


def test_every_option_is_one_of_a_group() -> None:
    """Groups come once, Django's and its own first; what only a web port needs is not there."""
    groups = [group for group, _ in groupby(CONSUMER_TABLE, lambda option: option.group)]
    assert (groups[:2], groups[-1]) == (["Django", "AMQP"], "Moving from Django-Hurricane")
    assert CONSUMER_TABLE[2].name == "handler"
    assert len(groups) == len(set(groups))
    names = {option.name for option in CONSUMER_TABLE}
    assert not names & {"port", "workers", "static", "endpoint", "wsgi", "drain_delay", "autoreload"}
    assert {"probe_port", "command", "webhook_url", "graceful_timeout", "log_format", "service", "debug"} <= names
    assert [option.name for option in CONSUMER_TABLE[:2]] == [option.name for option in TABLE[:2]]


def test_defaults() -> None:
    """One thread in the order of the queue, twice as many messages at hand, probes on 8001, reconnection."""
    config = configuration()
    assert (config.threads, config.prefetch, config.probe_port, config.reconnect) == (1, 2, 8001, True)
    assert config.source("prefetch") == "default, twice --threads"
    assert configuration(threads="4").prefetch == 8
    assert configuration(threads="4", prefetch="3").prefetch == 3
    assert configuration({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).drain_delay == 0
    assert not config.probes_on_web_port
    assert configuration(probe_port="8000", debugger=True, debugger_port="8001").probe_port == 8000


def test_values_of_a_server_do_not_hurt() -> None:
    """Both may share an environment, and the setting."""
    environ = {"TWISTSERVE_PORT": "9000", "TWISTSERVE_STATIC": "true", "TWISTSERVE_QUEUE": "orders"}
    assert configuration(environ).queue == "orders"
    assert configuration(environ).probe_port == 8001


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("exchange_type", "topics", "give topic, direct, fanout or headers"),
        ("queue_type", "stream", "give classic or quorum"),
        ("queue", "q" * 256, "at most 255 bytes"),
        ("queue", "a\nb", "at most 255 bytes"),
        ("prefetch", "65536", "from 1 to 65535"),
        ("prefetch", "0", "from 1 to 65535"),
        ("amqp_url", "http://rabbit", "amqps://rabbitmq"),
        ("handler", "Orders", "dotted name"),
    ],
)
def test_values_that_are_not_valid(name: str, value: str, said: str) -> None:
    """What would be right is said."""
    given: dict[str, Any] = {name: value}
    with pytest.raises(StartError, match=said) as raised:
        configuration(**given)
    assert f"--{name.replace('_', '-')}" in str(raised.value)


def test_the_broker_is_named_once() -> None:
    """A URL and parts beside it; but Django-Hurricane's names may stay for the consumer that it still runs."""
    with pytest.raises(StartError, match="--amqp-host from the command line: leave one of them out"):
        configuration(amqp_url="amqp://rabbit", amqp_host="other")
    config = configuration({"AMQP_HOST": "other", "AMQP_PORT": "5"}, amqp_url="amqp://rabbit")
    assert (config.amqp_url, config.amqp_port) == ("amqp://rabbit", 5)


def test_names_of_django_hurricane() -> None:
    """After ours; a variable that Kubernetes makes of a Service named amqp is none of them."""
    environ = {"AMQP_HOST": "rabbit", "AMQP_VHOST": "shop", "AMQP_USER": "u", "AMQP_PASSWORD": "p"}
    config = configuration({**environ, "AMQP_PORT": "tcp://10.0.0.7:5672"}, amqp_vhost="mine")
    assert (config.amqp_host, config.amqp_port, config.amqp_vhost) == ("rabbit", 5672, "mine")
    assert (config.amqp_user, config.amqp_password) == ("u", "p")
    assert config.source("amqp_host") == "the environment variable AMQP_HOST"


def test_no_credentials_are_shown() -> None:
    """Neither in the table nor on the status page."""
    config = configuration({"AMQP_PASSWORD": "hush"}, amqp_url="amqp://user:hush@rabbit/v")
    assert "hush" not in as_text(config) + str(options_in_force(config))
    assert "amqp://rabbit/…" in as_text(config)


def test_values_survive_json() -> None:
    """Those of a consumer are its own class's."""
    config = configuration(queue="orders", command=["check"])
    assert ConsumerConfiguration.of_values(config.values()).values() == config.values()
