"""The table of options: where values come from, and what is said of wrong ones."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import pytest

from twistserve import command_line, options
from twistserve.command_line import CommandLine
from twistserve.errors import StartError
from twistserve.options import TABLE, Configuration, resolve


def resolved(*words: str, environ: dict[str, str] | None = None, setting: Any = None) -> Configuration:
    """What is in force for a command line, an environment and the setting TWISTSERVE."""
    line = CommandLine()
    line.parseOptions(list(words))
    return resolve(line.given, environ or {}, lambda *_: {} if setting is None else setting)


def error(*words: str, environ: dict[str, str] | None = None, setting: Any = None) -> str:
    with pytest.raises(StartError) as raised:
        resolved(*words, environ=environ, setting=setting)
    return str(raised.value)


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


def test_every_option_has_every_source() -> None:
    """Each row of the table can be typed, put into the environment, and, but for two, into the setting."""
    parser = argparse.ArgumentParser()
    command_line.add_arguments(parser)
    typed = set(parser.parse_args([]).__dict__)
    fields = {field.name for field in dataclasses.fields(Configuration)} - {"sources", "defaults", "notices"}
    assert typed == fields == {option.name for option in options.TABLE}
    for option in options.TABLE:
        assert hasattr(CommandLine, f"opt_{option.name}")
        assert option.full_help in str(CommandLine()).replace("\n", " ") or option.help


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


def test_probe_address_follows_the_web_address() -> None:
    """The probe port is the next one, on the same host, unless it is given."""
    config = resolved("--host", "127.0.0.1", "--port", "9000")
    assert (config.probe_host, config.probe_port) == ("127.0.0.1", 9001)
    assert resolved("--probe-port", "7", "--probe-host", "::1").probe_port == 7
    assert "--probe-port" in error("--port", "65535")
    assert resolved("--port", "65535", "--no-probe").port == 65535


def test_probes_on_the_web_port() -> None:
    """Without the status page, whatever was said of it, for that would be in the place of the site."""
    config = resolved("--probe-port", "8000", environ={"TWISTSERVE_NO_STATUS_PAGE": "false"})
    assert (config.probes_on_web_port, config.probe_port, config.no_status_page) == (True, 8000, True)
    assert config.source("no_status_page") == "default with --probe-port on the web port"
    assert not resolved().probes_on_web_port
    assert resolved("--probe-port", "8000", "--metrics", "status.json").metrics == "/status.json"
    without = resolved("--probe-port", "8000", "--no-probe", "--workers", "2")
    assert not without.probes_on_web_port
    assert not without.no_status_page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "each worker could tell of itself alone"),
        (["--endpoint", "tcp:9000"], "which --endpoint takes the place of"),
        (["--endpoint", "tcp:9000", "--endpoint", "tls:/c:port=443"], "probes are not served with TLS"),
        (["--endpoint", "ssl:443:privateKey=/k"], "probes are not served with TLS"),
        (["--probe-host", "127.0.0.1"], "which is at the address of --host"),
    ],
)
def test_what_probes_on_the_web_port_cannot_go_with(words: list[str], said: str) -> None:
    """In one sentence, with the remedy."""
    told = error("--probe-port", "8000", *words)
    assert said in told
    assert told.endswith("give the probes a port of their own")
    assert resolved("--probe-port", "8001", *words).probe_port == 8001


def test_a_debugger_beside_probes_on_the_web_port() -> None:
    """It needs another port, which the error calls by its name."""
    assert "5678 is the web port too" in error("--port", "5678", "--probe-port", "5678", "--debugger")


def test_paths_of_the_probe_port_differ() -> None:
    """Two probes cannot have one path; metrics that are off do not count."""
    assert "--liveness-probe" in error("--liveness-probe", "ready")
    assert "--metrics" in error("--metrics", "/alive")
    assert resolved("--metrics", "/alive", "--no-metrics").no_metrics


def test_the_status_page_has_a_path_of_its_own() -> None:
    """Nothing else can be at /status.json, unless there is no such page."""
    said = error("--metrics", "status.json")
    assert "--metrics: '/status.json' is the path of the status page's JSON too" in said
    assert resolved("--metrics", "status.json", "--no-status-page").metrics == "/status.json"


def test_one_path_for_readiness_and_liveness() -> None:
    """It takes the place of both, and needs a path of its own like them."""
    config = resolved("--probe", "health/")
    assert (config.probe, config.readiness_probe, config.liveness_probe) == ("/health", "/health", "/health")
    assert config.startup_probe == "/startup"
    assert resolved("--probe", "/alive", "--metrics", "/ready").probe == "/alive"
    assert "--probe: '/startup' is the path of --startup-probe too" in error("--probe", "/startup")
    assert "--metrics: '/metrics' is the path of --probe too" in error("--probe", "/metrics")
    assert "--probe: '/status.json' is the path of the status page's JSON too" in error("--probe", "/status.json")
    assert resolved("--probe", "/startup", "--no-probe").no_probe, "as for the other paths, there is nothing to ask"


@pytest.mark.parametrize("word", ["readiness-probe", "liveness-probe"])
def test_one_path_beside_another_is_refused(word: str) -> None:
    """Wherever either comes from, which the error tells, and even if the paths are the same."""
    key = word.replace("-", "_").upper()
    assert error(f"--{word}", "/alive", environ={"TWISTSERVE_PROBE": "/alive"}) == (
        "--probe from the environment variable TWISTSERVE_PROBE is the one path of readiness and liveness,"
        f" but there is --{word} from the command line: leave one of them out"
    )
    assert f"from the environment variable TWISTSERVE_{key}:" in error(
        "--probe", "/x", environ={f"TWISTSERVE_{key}": "/y"}
    )
    assert f"from the setting TWISTSERVE['{key}']:" in error("--probe", "/x", setting={key: "/y"})


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
    assert options.unknown_variables(environ) == {"TWISTSERVE_PRT": "TWISTSERVE_PORT"}


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
    assert not [option.key for option in TABLE if options.is_service_link(f"TWISTSERVE_{option.key}", "")]


@pytest.mark.parametrize(
    "url",
    ["amqp://shop:t0p", "amqp://shop:1t0p/x@host", "amqp://shop:1/t0p@host", "amqp://shop:a t0p@host", "x://:t0p@host"],
)
def test_a_wrong_url_keeps_its_password(url: str) -> None:
    """The error that ends a start shows no password, wherever a wrong URL has it."""
    with pytest.raises(StartError) as raised:
        resolve({"check": [f"broker={url}"]}, {}, lambda *_: {})
    assert "--check" in str(raised.value)
    assert "broker=" in str(raised.value)
    assert "t0p" not in str(raised.value)
    assert "%2F" in str(raised.value)


def test_check_shows_no_argument() -> None:
    """Who looks at the options in force sees neither paths nor hosts."""
    (option,) = (option for option in TABLE if option.name == "check")
    chosen = ("caches", "disk=/var/lib:500M", "broker=amqp://shop:t0p@host")
    assert option.show(chosen) == "caches, disk=…, broker=…"


def test_unknown_keys_of_the_setting_are_found() -> None:
    """Each with what may have been meant, whatever case it is written in, or with all there are."""
    setting = {"port": 1, "PORT": 2, "SETTINGS": "x", 3: 4}
    found = options.unknown_keys(setting)
    assert list(found) == ["port", "SETTINGS", 3]
    assert found["port"] == "did you mean 'PORT'?"
    assert found[3].startswith("there are WSGI, HOST, PORT,")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--debugger: with --workers 2 "),
        (["--port", "5678"], "--debugger-port: 5678 is the web port too"),
        (["--probe-port", "5678"], "--debugger-port: 5678 is the probe port too"),
        (["--port", "5677"], "--debugger-port: 5678 is the probe port too"),
        (["--no-probe", "--port", "5678"], "is the web port too"),
    ],
)
def test_a_debugger_needs_one_process_and_a_port_of_its_own(words: list[str], said: str) -> None:
    """The port of the debugger is looked at only where there is one, and the others only where they are opened."""
    assert said in error("--debugger", *words)
    resolved(*words)


def test_ports_that_are_not_opened_are_the_debuggers_to_take() -> None:
    """--endpoint opens others than --port, --no-probe none."""
    assert resolved("--debugger", "--port", "5678", "--endpoint", "tcp:8000").debugger_port == 5678
    assert resolved("--debugger", "--probe-port", "5678", "--no-probe").debugger


@pytest.mark.parametrize("key", ["PYCHARM_HOST", "PYCHARM_PORT"])
def test_what_is_replaced_is_refused_with_what_to_use(key: str) -> None:
    """In the environment and in the setting; an empty variable is not set, and one of Kubernetes's is no option."""
    for said in (error(environ={f"TWISTSERVE_{key}": "1"}), error(setting={key: "1"})):
        assert key in said
        assert "use --debugger" in said
    resolved(environ={f"TWISTSERVE_{key}": ""})
    resolved(environ={f"TWISTSERVE_{key}": "tcp://10.0.0.7:80"})


def test_static_watch_needs_static_and_one_process() -> None:
    """The refusal names the other option."""
    assert error("--static-watch", ".") == "--static-watch renews what --static serves: give --static as well"
    message = error("--static", "--static-watch", ".", "--workers", "2")
    assert message.startswith("--static-watch is for development with one process, and --workers is 2")
    assert len(resolved("--static", "--static-watch", ".", "--static-watch", "..").static_watch) == 2


def test_one_process_is_reloaded() -> None:
    """Wherever both were said; the line says what to do."""
    assert "--workers is 2: give --workers 1 with it" in error("--autoreload", "--workers", "2")
    assert error("--autoreload", setting={"WORKERS": 2}).startswith("--autoreload: one process is reloaded")
    assert resolved("--autoreload", "--workers", "1").autoreload


def test_what_is_watched_too() -> None:
    """Files and directories, several of them, which have to be there."""
    assert resolved("--autoreload-watch", "/", "--autoreload-watch", __file__).autoreload_watch == ("/", __file__)
    assert resolved().autoreload_watch == ()
    assert "--autoreload-watch: '/nowhere'" in error("--autoreload-watch", "/nowhere")
