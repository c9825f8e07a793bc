"""Where values come from, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.options import error, resolved
from twistserve import resolution
from twistserve.options import TABLE
from twistserve.resolution import resolve


def test_defaults_are_the_contracts() -> None:
    """Without any source, the documented defaults are in force."""
    config = resolved()
    assert (config.port, config.probe_port, config.threads, config.check_timeout) == (8000, 8001, 8, 5.0)
    assert (config.startup_probe, config.readiness_probe, config.liveness_probe) == ("/startup", "/ready", "/alive")
    assert (config.metrics, config.access_log, config.log_level) == ("/metrics", True, "INFO")
    assert (config.host, config.probe_host, config.command, config.static) == (None, None, (), False)


def test_precedence() -> None:
    """The command line beats the environment, which beats the setting, which beats the default."""
    environ = {"TWISTSERVE_PORT": "2000", "TWISTSERVE_THREADS": "2"}
    config = resolved("--port", "1000", environ=environ, setting={"PORT": 3000, "THREADS": 3, "HOST": "::1"})
    assert (config.port, config.threads, config.host) == (1000, 2, "::1")
    assert config.sources == {
        "port": "the command line",
        "threads": "the environment variable TWISTSERVE_THREADS",
        "host": "the setting TWISTSERVE['HOST']",
    }


def test_defaults_of_a_command_are_below_every_source() -> None:
    """manage.py serve turns the system checks on unless the command line, environment or setting says no."""
    on = {"system_checks": True}
    assert resolve({}, {}, lambda *_: {}, on).system_checks
    assert not resolve({}, {"TWISTSERVE_SYSTEM_CHECKS": "off"}, lambda *_: {}, on).system_checks
    assert not resolve({}, {}, lambda *_: {"SYSTEM_CHECKS": False}, on).system_checks
    assert not resolve({"system_checks": False}, {"TWISTSERVE_SYSTEM_CHECKS": "on"}, lambda *_: {}, on).system_checks


@pytest.mark.parametrize(
    ("given", "level"),
    [({}, "INFO"), ({"debug": True}, "DEBUG"), ({"debug": True, "log_level": "WARNING"}, "WARNING")],
)
def test_debug_is_about_the_log_too(given: dict[str, object], level: str) -> None:
    """Unless its level is given."""
    assert resolve(given, {}, lambda *_: {}).log_level == level
    assert resolve({}, {"TWISTSERVE_DEBUG": "1"}, lambda *_: {"LOG_LEVEL": "INFO"}).log_level == "INFO"


@pytest.mark.parametrize(
    ("word", "value", "remedy"),
    [
        ("port", "0", "1 to 65535"),
        ("port", "65536", "1 to 65535"),
        ("port", "eighty", "1 to 65535"),
        ("port", "\u0661", "1 to 65535"),
        ("threads", "0", "1 or more"),
        ("threads", "-2", "1 or more"),
        ("check-timeout", "0", "above 0"),
        ("check-timeout", "nan", "above 0"),
        ("check-timeout", "99999999999999999999", "1,000,000,000"),
        ("drain-delay", "1000000001", "31 years"),
        ("log-level", "LOUD", "DEBUG, INFO"),
        ("wsgi", "application", "mysite.wsgi.application"),
        ("settings", "my site", "mysite.settings"),
        ("startup-probe", "/", "/ready"),
        ("metrics", "/a?b", "/ready"),
        ("host", "localhost/", "host name"),
        ("command", "say 'hello", "quoted as for a shell"),
        ("command", "  ", "management command"),
        ("webhook-url", "https://hooks.example:0/", "https://hooks.example.com/events"),
        ("webhook-url", "https://hooks.example/\n", "https://hooks.example.com/events"),
        ("webhook-secret", "", "nobody can guess"),
        ("webhook-format", "tornado", "twistserve or hurricane"),
        ("app-version", "1\n2", "in one line"),
    ],
)
def test_a_bad_value_is_named_with_its_source_and_remedy(word: str, value: str, remedy: str) -> None:
    """The error names the option, the value, where it came from and what would be right."""
    said = error(f"--{word}", value)
    assert f"--{word}" in said
    assert repr(value) in said
    assert "the command line" in said
    assert remedy in said


def test_a_bad_value_in_the_environment_names_the_variable() -> None:
    """The source of the error is the variable's name."""
    assert "TWISTSERVE_THREADS" in error(environ={"TWISTSERVE_THREADS": "many"})
    assert "true or false" in error(environ={"TWISTSERVE_STATIC": "maybe"})


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"PRT": 1}, "did you mean 'PORT'"),
        ({"port": 1}, "did you mean 'PORT'"),
        ({"SETTINGS": "x"}, "unknown key"),
        ({"PORT": "x"}, "TWISTSERVE['PORT']"),
        ({"PORT": True}, "give a port, a whole number"),
        ({"PORT": [1]}, "give a port, a whole number"),
        ({"WORKERS": True}, "give a whole number, 1 or more"),
        ({"APP_VERSION": True}, "give text, not a bool"),
        ({"STATIC": 2}, "true or false"),
        ({"COMMAND": 5}, "give a list"),
        ({"COMMAND": [5.5, []]}, "not a list"),
        ([], "is a list"),
    ],
)
def test_a_bad_setting_is_named(setting: Any, said: str) -> None:
    """The setting TWISTSERVE is checked as strictly as the command line."""
    assert said in error(setting=setting)


def test_flags_and_lists_of_each_source() -> None:
    """Flags and repeatable options work from every source, and the winning source replaces the others."""
    environ = {"TWISTSERVE_STATIC": "true", "TWISTSERVE_COMMAND": "migrate\n  seed --all\n"}
    assert resolved(environ=environ).command == ("migrate", "seed --all")
    assert resolved(environ=environ).static is True
    assert resolved("--command", "a", "--command", "b c", environ=environ).command == ("a", "b c")
    assert resolved(setting={"COMMAND": ["x"], "MEDIA": True, "ACCESS_LOG": False}).command == ("x",)
    assert resolved("--no-access-log").access_log is False
    assert resolved("--access-log", environ={"TWISTSERVE_ACCESS_LOG": "off"}).access_log is True
    assert resolved(environ={"TWISTSERVE_PORT": ""}).port == 8000


def test_values_are_normalised() -> None:
    """Probe paths get their slash, levels their capitals, and a colon before the application's name is a dot."""
    config = resolved("--readiness-probe", "health/ready/", "--log-level", "debug", "--wsgi", "a.b:c")
    assert (config.readiness_probe, config.log_level, config.wsgi) == ("/health/ready", "DEBUG", "a.b.c")


@pytest.mark.parametrize("path", [" alive ", "/alive", "/alive/ ", " / alive", "alive\n"])
def test_spaces_around_paths_are_dropped(path: str) -> None:
    """They are as little part of a path as its missing slash."""
    assert resolved("--liveness-probe", path).liveness_probe == "/alive"
    assert "--liveness-probe" in error("--liveness-probe", "/a live")


def test_a_command_may_be_a_list_of_words() -> None:
    """Of the setting, as manage.py serve gives it."""
    assert resolved(setting={"COMMAND": [["loaddata", "a b"], "migrate"]}).command == ("loaddata 'a b'", "migrate")


def test_no_queue_at_all() -> None:
    """Readiness fails with 0 then, as with any other number that is reached."""
    assert resolved("--req-queue-len", "0").req_queue_len == 0
    assert "0 or more" in error("--req-queue-len", "-1")


def service_links(prefix: str, address: str = "10.0.0.7") -> dict[str, str]:
    """The environment of a pod beside a Service with two ports."""
    links = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": "80", f"{prefix}_SERVICE_PORT_HTTP": "80"}
    links[f"{prefix}_PORT"] = f"tcp://{address}:80"
    for port, protocol in ((80, "tcp"), (53, "udp")):
        name = f"{prefix}_PORT_{port}_{protocol.upper()}"
        links |= {name: f"{protocol}://{address}:{port}", f"{name}_PROTO": protocol, f"{name}_PORT": str(port)}
        links[f"{name}_ADDR"] = address
    return links


def test_unknown_variables_are_found() -> None:
    """A misspelt variable is noticed; what Kubernetes sets for a Service named twistserve is not."""
    environ = {
        "TWISTSERVE_PRT": "1",
        "TWISTSERVE_PORT": "2",
        **service_links("TWISTSERVE"),
        **service_links("TWISTSERVE_PROBE"),
        **service_links("TWISTSERVE_SHOP_2"),
    }
    assert resolution.unknown_variables(environ) == {"TWISTSERVE_PRT": "TWISTSERVE_PORT"}


@pytest.mark.parametrize("address", ["10.0.0.7", "[fd00::7]"])
def test_what_kubernetes_sets_for_a_service_is_no_option(address: str) -> None:
    """A Service `twistserve-probe` sets TWISTSERVE_PROBE_PORT; the pod's own variable stands in the place of it."""
    links = service_links("TWISTSERVE_PROBE", address) | service_links("TWISTSERVE", address)
    assert resolve({}, links, lambda *_: {}).probe_port == 8001
    links |= {"TWISTSERVE_PROBE_PORT": "9001", "TWISTSERVE_PORT": "9000"}
    configuration = resolve({}, links, lambda *_: {})
    assert (configuration.port, configuration.probe_port) == (9000, 9001)


def test_no_option_has_a_name_that_kubernetes_would_set() -> None:
    """It would be ignored."""
    assert not [option.key for option in TABLE if resolution.is_service_link(f"TWISTSERVE_{option.key}", "")]


def test_unknown_keys_of_the_setting_are_found() -> None:
    """Each with what may have been meant, whatever case it is written in, or with all there are."""
    setting = {"port": 1, "PORT": 2, "SETTINGS": "x", 3: 4}
    found = resolution.unknown_keys(setting)
    assert list(found) == ["port", "SETTINGS", 3]
    assert found["port"] == "did you mean 'PORT'?"
    assert found[3].startswith("there are WSGI, HOST, PORT,")


@pytest.mark.parametrize("key", ["PYCHARM_HOST", "PYCHARM_PORT"])
def test_what_is_replaced_is_refused_with_what_to_use(key: str) -> None:
    """In the environment and in the setting; an empty variable is not set, and one of Kubernetes's is no option."""
    for said in (error(environ={f"TWISTSERVE_{key}": "1"}), error(setting={key: "1"})):
        assert key in said
        assert "use --debugger" in said
    resolved(environ={f"TWISTSERVE_{key}": ""})
    resolved(environ={f"TWISTSERVE_{key}": "tcp://10.0.0.7:80"})


def test_what_is_watched_too() -> None:
    """Files and directories, several of them, which have to be there."""
    assert resolved("--autoreload-watch", "/", "--autoreload-watch", __file__).autoreload_watch == ("/", __file__)
    assert resolved().autoreload_watch == ()
    assert "--autoreload-watch: '/nowhere'" in error("--autoreload-watch", "/nowhere")
