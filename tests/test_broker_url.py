"""URLs of brokers: what they say, and what is wrong with those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from twistserve.broker_url import BrokerUrl, parsed, url


def test_what_a_url_says() -> None:
    """Percent signs are decoded; no path, and an empty one, is the default virtual host."""
    assert parsed("amqp://rabbit") == BrokerUrl(False, "rabbit", 5672)
    assert parsed("amqps://rabbit/") == BrokerUrl(True, "rabbit", 5671)
    assert parsed("amqp://u%40x:p%2Fw@[::1]:9/shop%2Feu?heartbeat=20") == BrokerUrl(
        False, "::1", 9, "shop/eu", "u@x", "p/w", heartbeat=20
    )
    assert url("  amqp://rabbit ") == "amqp://rabbit"


def test_files_of_tls(tmp_path: Path) -> None:
    """They must be there, and a certificate has a key."""
    file = tmp_path / "ca.pem"
    file.write_text("")
    assert parsed(f"amqps://rabbit/?cacertfile={file}").cacertfile == str(file)
    assert parsed(f"amqps://rabbit/?certfile={file}&keyfile={file}").keyfile == str(file)
    for text, said in (
        (f"amqp://rabbit/?cacertfile={file}", "give amqps://"),
        (f"amqps://rabbit/?certfile={file}", "both of the parameters"),
        ("amqps://rabbit/?cacertfile=gone.pem", "there is no file 'gone.pem'"),
    ):
        with pytest.raises(ValueError, match=said):
            parsed(text)


@pytest.mark.parametrize(
    "text",
    ["rabbit", "http://rabbit", "amqp://", "amqp://u:p/w@rabbit", "amqp://u:p#w@rabbit", "amqp://u:pw", "amqp://a b"],
)
def test_no_url_of_a_broker(text: str) -> None:
    """An example says what would be one; what may be a password is not repeated."""
    with pytest.raises(ValueError, match="amqp://user:password@rabbitmq:5672/vhost") as raised:
        parsed(text)
    assert "p/w" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("query", "said"),
    [("verify=none", "'verify' is not known"), ("heartbeat=x", "takes seconds"), ("heartbeat=", "takes")],
)
def test_parameters(query: str, said: str) -> None:
    """Those that are not known would be taken for in force."""
    with pytest.raises(ValueError, match=said):
        parsed(f"amqp://rabbit/?{query}")
