"""What the values of options may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from twistserve import values
from twistserve.values import Broker, Disk, parsed_check


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("caches", ("caches", "")),
        (" storage ", ("storage", "")),
        ("migrations", ("migrations", "")),
        ("health-check", ("health-check", "")),
        ("health-check=shop.health.Shelves", ("health-check", "shop.health.Shelves")),
        ("disk=/var/lib:500M", ("disk", Disk("/var/lib", 500 << 20))),
        ("disk=/mnt/a:b:2G", ("disk", Disk("/mnt/a:b", 2 << 30))),
        ("disk=.:1", ("disk", Disk(".", 1))),
        ("broker=amqp://host", ("broker", Broker("amqp", "host", 5672))),
        ("broker=amqps://host", ("broker", Broker("amqps", "host", 5671))),
        ("broker=redis://host/0", ("broker", Broker("redis", "host", 6379))),
        ("broker=rediss://host", ("broker", Broker("rediss", "host", 6379))),
        ("broker=kafka://host", ("broker", Broker("kafka", "host", 9092))),
        ("broker=nats://host", ("broker", Broker("nats", "host", 4222))),
        ("broker=mqtt://host", ("broker", Broker("mqtt", "host", 1883))),
        ("broker=amqp://shop:p%40ss@[::1]:99/vhost?heartbeat=5", ("broker", Broker("amqp", "::1", 99))),
        ("broker=stomp://host:61613", ("broker", Broker("stomp", "host", 61613))),
    ],
)
def test_what_check_takes(text: str, parsed: object) -> None:
    """Each kind with its argument; of a broker's URL only the host and the port are kept."""
    assert parsed_check(text) == parsed
    assert values.check(text) == text.strip()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "give caches, storage, migrations, disk=PATH:SIZE, broker=URL, health-check"),
        ("cache", "give caches, storage"),
        ("caches=default", "give caches, storage"),
        ("migrations=", "give caches, storage"),
        ("health-check=", "give caches, storage"),
        ("health-check=a b", "dotted Python name"),
        ("disk", "such as disk=/var/lib:500M"),
        ("disk=/var/lib", "such as disk=/var/lib:500M"),
        ("disk=:500M", "such as disk=/var/lib:500M"),
        ("disk=/var/lib:lots", "such as disk=/var/lib:500M"),
        ("broker", "such as broker=amqp://host:5672"),
        ("broker=host:5672", "such as broker=amqp://host:5672"),
        ("broker=stomp://host", "without a port only for amqp, amqps"),
        ("broker=amqp://host:99999", "such as broker=amqp://host:5672"),
        ("broker=amqp://", "such as broker=amqp://host:5672"),
    ],
)
def test_what_check_does_not_take(text: str, remedy: str) -> None:
    """The message names what there is."""
    with pytest.raises(ValueError, match=remedy):
        values.check(text)


def test_a_path_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or directory, absolute from then on; else what to give is said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.css").touch()
    assert values.existing(".") == str(tmp_path)
    assert values.existing("site.css") == str(tmp_path / "site.css")
    with pytest.raises(ValueError, match="no such file or directory; give one that exists"):
        values.existing("nowhere")


def test_what_has_to_exist(tmp_path: Path) -> None:
    """A file or a directory; what is no path at all does not."""
    (tmp_path / ".env").write_text("")
    for path in (tmp_path, tmp_path / ".env"):
        assert values.existing(str(path)) == str(path)
    for text in (str(tmp_path / "nothing"), "", "a\0b"):
        with pytest.raises(ValueError, match="there is no such file or directory"):
            values.existing(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a path and the dotted name"),
        ("/live", "a path and the dotted name"),
        ("mysite.live.resource", "a path and the dotted name"),
        ("/=mysite.live", "the root would hide Django"),
        ("=mysite.live", "the root would hide Django"),
        ("/live=", "dotted name after the path"),
        ("/live=resource", "dotted name after the path"),
        ("/li ve=mysite.live", "give a path"),
        ("/a//b=mysite.live", "give a path"),
    ],
)
def test_what_mount_does_not_take(text: str, said: str) -> None:
    """What is right is said."""
    with pytest.raises(ValueError, match=said):
        values.mount(text)


def test_what_mount_takes() -> None:
    """A path, with or without slashes around it, and a dotted name."""
    assert values.mount(" live/=mysite.live:resource") == "/live=mysite.live.resource"
    assert values.mount("/live=mysite.live.app.resource") == "/live=mysite.live.app.resource"
