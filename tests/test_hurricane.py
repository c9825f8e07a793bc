"""Django-Hurricane's names: which options they set after our own sources, and what is said of them at the start."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from twistserve import hurricane
from twistserve.errors import StartError
from twistserve.options import TABLE, Configuration
from twistserve.replaced import instead
from twistserve.resolution import resolve

THEIRS = (
    *("STATIC", "MEDIA", "AUTORELOAD", "DEBUG", "PORT", "METRICS", "LIVENESS_PROBE", "READINESS_PROBE"),
    *("STARTUP_PROBE", "PROBE_PORT", "REQ_QUEUE_LEN", "NO_PROBE", "NO_METRICS", "COMMAND", "CHECK_MIGRATIONS"),
    *("CHECK_MIGRATIONS_APPLY", "DEBUGGER", "DEBUGGER_PORT", "WEBHOOK_URL", "MAX_LIFETIME", "MAX_MEMORY", "WORKERS"),
    *("STATIC_WATCH", "PYCHARM_HOST", "PYCHARM_PORT", "MAX_BODY_SIZE", "MAX_BUFFER_SIZE"),
)
"""The options of Django-Hurricane 1.6.2 that its command serve takes from variables and settings."""

ASKED = {"HURRICANE_SETTINGS": True}


def resolved(
    environ: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    setting: dict[str, Any] | None = None,
    **given: Any,
) -> Configuration:
    """What is in force for an environment, for Django settings and TWISTSERVE among them, and a command line."""
    there = settings or {}
    return resolve(
        given,
        environ or {},
        lambda *_: setting or {},
        read_settings=lambda names: {name: there[name] for name in names if name in there},
    )


def notices(*arguments: Any, **given: Any) -> list[str]:
    return list(resolved(*arguments, **given).notices)


@pytest.fixture(autouse=True)
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django-Hurricane is not, whatever the tests run in."""

    def distribution(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)


# Names


def test_every_name_is_known() -> None:
    """Each sets an option of the table, or it is told what to use instead."""
    without_effect = {"PYCHARM_HOST", "PYCHARM_PORT", "MAX_BUFFER_SIZE"}
    assert {f"HURRICANE_{name}" for name in THEIRS} - set(hurricane.VARIABLES) == {
        f"HURRICANE_{name}" for name in without_effect
    }
    assert set(THEIRS) - set(hurricane.SETTINGS) == without_effect | {"DEBUG"}
    assert {*hurricane.VARIABLES.values(), *hurricane.SETTINGS.values()} <= {option.name for option in TABLE}
    assert set(hurricane.READ) - {"LOGGING"} == {*THEIRS, "HURRICANE_VERSION", "LOG_PROBES"} - {"DEBUG"}
    assert set(hurricane.DISTINCTIVE) < set(hurricane.SETTINGS)
    assert instead("PYCHARM_HOST") in hurricane._WITHOUT_EFFECT.values()


def test_flags_are_those_of_the_table() -> None:
    """Which of them a word can turn off."""
    theirs = {*hurricane.VARIABLES.values(), *hurricane.SETTINGS.values()}
    assert {option.name for option in TABLE if option.flag} & theirs == hurricane._FLAGS


# Variables


@pytest.mark.parametrize(
    ("name", "text", "option", "value"),
    [
        ("PORT", "9000", "port", 9000),
        ("PORT", " 9000 ", "port", 9000),
        ("WORKERS", "3", "threads", 3),
        ("MEDIA", "True", "media", True),
        ("MEDIA", "0", "media", False),
        ("NO_METRICS", "1", "no_metrics", True),
        ("DEBUG", "true", "debug", True),
        ("METRICS", "numbers", "metrics", "/numbers"),
        ("LIVENESS_PROBE", " veryalive ", "liveness_probe", "/veryalive"),
        ("COMMAND", "migrate --noinput\nseed", "command", ("migrate --noinput", "seed")),
        ("WEBHOOK_URL", "http://hooks/", "webhook_url", ("http://hooks/",)),
        ("MAX_BODY_SIZE", "1000", "max_body_size", 1000),
        ("MAX_LIFETIME", "0", "max_lifetime", 0),
        ("REQ_QUEUE_LEN", "0", "req_queue_len", 0),
        ("VERSION", "1.2", "app_version", "1.2"),
    ],
)
def test_a_variable_sets_its_option(name: str, text: str, option: str, value: object) -> None:
    """Which one notice tells, with the name that it has here."""
    config = resolved({f"HURRICANE_{name}": text})
    assert getattr(config, option) == value
    assert config.source(option) == f"the environment variable HURRICANE_{name}"
    [notice] = config.notices
    assert notice.startswith(f"the environment variable HURRICANE_{name} is Django-Hurricane's, and sets --")
    assert f"TWISTSERVE_{option.upper()}" in notice


def test_workers_are_threads_there() -> None:
    """The notice names --threads, and says why; the number of processes stays."""
    config = resolved({"HURRICANE_WORKERS": "3"})
    assert (config.threads, config.workers) == (3, 1)
    [notice] = config.notices
    assert "sets --threads here, since --workers are processes: name it TWISTSERVE_THREADS" in notice


@pytest.mark.parametrize(
    ("ours", "source"),
    [
        ({"port": "1"}, "the command line"),
        ({"environ": {"TWISTSERVE_PORT": "1"}}, "the environment variable TWISTSERVE_PORT"),
        ({"setting": {"PORT": 1}}, "the setting TWISTSERVE['PORT']"),
    ],
)
def test_our_own_sources_come_first(ours: dict[str, Any], source: str) -> None:
    """The notice says which of them it is; what is not in force need not be valid."""
    environ = {"HURRICANE_PORT": "x", **ours.pop("environ", {})}
    config = resolved(environ, **ours)
    assert config.port == 1
    assert config.notices == (
        "the environment variable HURRICANE_PORT is Django-Hurricane's, and has no effect beside --port from"
        f" {source}: remove it",
    )


@pytest.mark.parametrize("text", ["", "  ", "tcp://10.0.0.7:80"])
def test_variables_that_set_nothing(text: str) -> None:
    """Empty ones, and what Kubernetes sets for a Service that is named hurricane."""
    config = resolved({"HURRICANE_PORT": text, "HURRICANE_SERVICE_HOST": "10.0.0.7", "HURRICANE_SHOP": "1"})
    assert (config.port, config.notices) == (8000, ())


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("WORKERS", "many", "--threads: 'many' from the environment variable HURRICANE_WORKERS is not valid"),
        ("STATIC", "2", "--static: '2' from the environment variable HURRICANE_STATIC is not valid: give true or"),
        ("PORT", "0", "--port: '0' from the environment variable HURRICANE_PORT is not valid"),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str, remedy: str) -> None:
    """In the one line that ends the start."""
    with pytest.raises(StartError) as raised:
        resolved({f"HURRICANE_{name}": text})
    assert str(raised.value).startswith(remedy)


@pytest.mark.parametrize("text", ["False", "no", "off"])
def test_words_that_were_on(text: str) -> None:
    """Django-Hurricane takes every word for on: who has the same variable as before is told."""
    config = resolved({"HURRICANE_STATIC": text})
    assert not config.static
    [notice] = config.notices
    assert notice.endswith(f"TWISTSERVE_STATIC; {text!r} turns it off, where Django-Hurricane took every word for on")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("HURRICANE_PYCHARM_HOST", "use --debugger, which PyCharm attaches to"),
        ("HURRICANE_PYCHARM_PORT", "use --debugger, which PyCharm attaches to"),
        ("HURRICANE_MAX_BUFFER_SIZE", "--max-body-size and --max-header-size bound"),
    ],
)
def test_variables_without_effect(name: str, remedy: str) -> None:
    """They end no start, and one notice says what there is instead."""
    [notice] = notices({name: "1"})
    assert notice.startswith(f"the environment variable {name} is Django-Hurricane's, and has no effect: {remedy}")


# Settings


def test_settings_count_where_they_are_asked_for() -> None:
    """As Django-Hurricane reads them; nothing is said of what means the same here."""
    settings = {"PORT": 9000, "MEDIA": True, "WORKERS": 3, "COMMAND": [["migrate --noinput"], ["seed"]]}
    settings |= {"HURRICANE_VERSION": "1.2", "LOG_PROBES": True, "PROBE_PORT": None, "LIVENESS_PROBE": "veryalive"}
    config = resolved(settings=settings, setting=ASKED)
    assert (config.port, config.probe_port, config.media, config.threads) == (9000, 9001, True, 3)
    assert (config.command, config.liveness_probe) == (("migrate --noinput", "seed"), "/veryalive")
    assert (config.app_version, config.log_probes) == ("1.2", True)
    assert config.source("port") == "the Django setting PORT"
    assert config.source("threads") == "the Django setting WORKERS"
    assert config.source("app_version") == "the Django setting HURRICANE_VERSION"
    assert config.notices == ()


@pytest.mark.parametrize("setting", [{}, {"HURRICANE_SETTINGS": False}])
def test_settings_do_not_count_otherwise(setting: dict[str, Any]) -> None:
    """A project may use such names for something else."""
    config = resolved(settings={"PORT": 9000, "PROBE_PORT": 1, "LOG_PROBES": True}, setting=setting)
    assert (config.port, config.probe_port, config.log_probes) == (8000, 8001, False)


def test_djangos_debug_is_not_ours() -> None:
    """It is never looked at."""
    assert not resolved(settings={"DEBUG": True}, setting=ASKED).debug


def test_their_order() -> None:
    """Our own sources, then the settings, and then the variables, as there."""
    environ, settings = {"HURRICANE_PORT": "3", "HURRICANE_THREADS": "4"}, {"PORT": 2}
    assert resolved(environ, settings, ASKED).port == 2
    assert resolved(environ, settings).port == 3
    assert resolved(environ, settings, {**ASKED, "PORT": 1}).port == 1
    assert notices(environ, settings, ASKED) == [
        "the environment variable HURRICANE_PORT is Django-Hurricane's, and has no effect beside --port from the"
        " Django setting PORT: remove it"
    ]


@pytest.mark.parametrize("given", [{"hurricane_settings": True}, {"environ": {"TWISTSERVE_HURRICANE_SETTINGS": "1"}}])
def test_every_source_of_ours_can_ask(given: dict[str, Any]) -> None:
    """It is an option like others."""
    assert resolved(settings={"PORT": 2}, **given).port == 2


@pytest.mark.parametrize(("name", "value"), [("WORKERS", "many"), ("STATIC", 2), ("COMMAND", 5), ("COMMAND", [[]])])
def test_a_wrong_setting_is_named(name: str, value: object) -> None:
    """In the one line that ends the start."""
    with pytest.raises(StartError, match=f"from the Django setting {name} is not valid"):
        resolved(settings={name: value}, setting=ASKED)


def test_what_settings_mean_otherwise() -> None:
    """Words that were on, and names without effect."""
    settings = {"STATIC": "False", "PYCHARM_HOST": "me", "MAX_BUFFER_SIZE": 1}
    word, buffer, pycharm = notices(settings=settings, setting=ASKED)
    assert word.startswith("the Django setting STATIC sets --static; 'False' turns it off")
    assert buffer.startswith("the Django setting MAX_BUFFER_SIZE, which Django-Hurricane reads, has no effect: --max-")
    assert pycharm.startswith("the Django setting PYCHARM_HOST, which Django-Hurricane reads, has no effect: use --deb")
    assert notices(settings=settings) == [], "these may be anybody's"


@pytest.mark.parametrize("name", hurricane.DISTINCTIVE)
def test_distinctive_settings_are_told(name: str) -> None:
    """With what to write instead, unless somebody says that they do not count."""
    [notice] = notices(settings={name: "x"})
    key = {"HURRICANE_VERSION": "APP_VERSION"}.get(name, name)
    assert notice == (
        f"the Django setting {name}, which Django-Hurricane reads, has no effect: write TWISTSERVE = {{'{key}': ...}},"
        " or have all such settings count with TWISTSERVE = {'HURRICANE_SETTINGS': True}"
    )
    assert notices(settings={name: "x"}, setting={"HURRICANE_SETTINGS": False}) == []
    assert notices(settings={name: None}) == []


def test_a_setting_that_has_been_written_anew() -> None:
    """It is to be removed then."""
    assert notices(settings={"PROBE_PORT": 1}, setting={"PROBE_PORT": 1}) == [
        "the Django setting PROBE_PORT, which Django-Hurricane reads, has no effect beside --probe-port from the"
        " setting TWISTSERVE['PROBE_PORT']: remove it"
    ]
    variable, setting = notices({"HURRICANE_PROBE_PORT": "2"}, settings={"PROBE_PORT": 1})
    assert "sets --probe-port here" in variable
    assert "write TWISTSERVE = {'PROBE_PORT': ...}" in setting, "it was in force there, not the variable"


@pytest.mark.parametrize("name", ["PORT", "STATIC", "COMMAND", "WORKERS", "METRICS", "WEBHOOK_URL", "MAX_MEMORY"])
def test_other_settings_are_anybodys(name: str) -> None:
    """Nothing is said of them."""
    assert notices(settings={name: "x"}) == []


def test_events_have_another_format() -> None:
    """Whoever only moves the address is told, until a format is chosen."""
    environ = {"HURRICANE_WEBHOOK_URL": "http://hooks/"}
    [notice] = notices(environ)
    assert "name it TWISTSERVE_WEBHOOK_URL; events have twistserve's format: --webhook-format hurricane" in notice
    [notice] = notices(environ, setting={"WEBHOOK_FORMAT": "hurricane"})
    assert notice.endswith("name it TWISTSERVE_WEBHOOK_URL")
    [notice] = notices(settings={"WEBHOOK_URL": "http://hooks/"}, setting={"HURRICANE_SETTINGS": True})
    assert notice.startswith("the Django setting WEBHOOK_URL sets --webhook-url; events have twistserve's format")


# The command line


def test_the_size_of_the_buffer_has_no_effect() -> None:
    """It is accepted, and told what bounds a request."""
    config = resolved(max_buffer_size="1000")
    assert config.max_buffer_size == 1000
    assert config.notices == (
        "--max-buffer-size from the command line has no effect: --max-body-size and --max-header-size bound what is"
        " kept of a request",
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (["migrate"], "migrate"),
        (["migrate --noinput"], "migrate --noinput"),
        (["loaddata", "a b.json"], "loaddata 'a b.json'"),
        (("migrate --noinput", "shop"), "migrate --noinput shop"),
        ("migrate shop", "migrate shop"),
        (5, 5),
        ([], []),
        (["migrate", 5], ["migrate", 5]),
    ],
)
def test_a_command_in_words(raw: object, text: object) -> None:
    """The first may have arguments already, in quotes; what is no list of words is left as it is."""
    assert hurricane.command(raw) == text


def test_words_after_a_command() -> None:
    """They are its arguments, which the notice tells; nothing is said of a command alone."""
    config = resolved(command=[["migrate --noinput", "shop"], ["seed"], "check --deploy"])
    assert config.command == ("migrate --noinput shop", "seed", "check --deploy")
    assert config.notices == (
        "--command from the command line: migrate is run with all the words that follow, which Django-Hurricane leaves"
        " out: write a command and its arguments as one text, in quotes",
    )
    for words in (["migrate", "shop"], ["", "migrate"]):
        [notice] = notices(settings={"COMMAND": [words]}, setting=ASKED)
        assert notice.startswith("--command from the Django setting COMMAND: migrate is run")


@pytest.mark.parametrize(
    "signs",
    [
        {"environ": {"HURRICANE_WORKERS": "2"}},
        {"environ": {"HURRICANE_PYCHARM_HOST": "me"}},
        {"setting": ASKED},
        {"settings": {"PROBE_PORT": 9000}},
        {"settings": {"LOGGING": {"loggers": {"hurricane": {}}}}},
        {"settings": {"LOGGING": {"loggers": {"hurricane.requests": {}}}}},
        {"max_buffer_size": "1000"},
    ],
)
def test_workers_are_processes_here(signs: dict[str, Any]) -> None:
    """Which is told to whoever shows that the project has been served by Django-Hurricane."""
    told = (
        "--workers: 4 from the command line are processes, where Django-Hurricane's are threads: give --threads 4 for"
        " these, or --threads as well if processes are meant"
    )
    assert notices(workers="4", **signs).count(told) == 1
    assert told not in notices(workers="4", threads="2", **signs), "who gives both knows it"


@pytest.mark.parametrize(
    "native",
    [
        {"workers": "4"},
        {"workers": "4", "settings": {"LOGGING": {"loggers": {"shop": {}}}, "PORT": 9000}},
        {"workers": "4", "settings": {"LOGGING": {"loggers": None}}},
        {"workers": "4", "settings": {"LOGGING": None}},
    ],
)
def test_who_has_never_had_hurricane_is_told_nothing(native: dict[str, Any]) -> None:
    """Nor who sets the number of processes by a name that is ours alone."""
    assert notices(**native) == []
    assert not [each for each in notices({"TWISTSERVE_WORKERS": "4", "HURRICANE_PORT": "1"}) if "--workers" in each]


def test_an_installed_hurricane_is_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has only replaced the app has it still."""
    monkeypatch.setattr(metadata, "distribution", lambda name: name)
    [notice] = notices(workers="4")
    assert notice.startswith("--workers: 4")
    assert notices() == []
