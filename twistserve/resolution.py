"""The values in force: each option's from the first source that says something, validated once.

The sources are the command line, environment variables ``TWISTSERVE_<NAME>``, the Django setting ``TWISTSERVE``, and
Django-Hurricane's names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from twistserve import hurricane, redaction
from twistserve.combinations import complete, complete_consumer
from twistserve.consumer_options import CONSUMER_TABLE, ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.hurricane import Hurricane, Layer
from twistserve.options import TABLE, Configuration, Option
from twistserve.replaced import instead

ENVIRONMENT_PREFIX = "TWISTSERVE_"
COMMAND_LINE = "the command line"
SETTINGS_MODULE = "DJANGO_SETTINGS_MODULE"

# What Kubernetes puts into the environment of every pod beside a Service named twistserve, or twistserve-something.
_SERVICE_NAME = re.compile(r"TWISTSERVE_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)")
_SERVICE_VALUE = re.compile(r"(tcp|udp|sctp)://[^/]+:\d+")

_OPTIONS = {option.name: option for option in (*CONSUMER_TABLE, *TABLE)}
"""All options: the environment and the setting TWISTSERVE may be shared by a server and a consumer."""
_SETTABLE = {option.key: option.name for option in (*TABLE[2:], *CONSUMER_TABLE[2:])}
"""Their keys in the setting TWISTSERVE, without those that say which settings there are."""
_HURRICANE_SETTINGS = next(option for option in TABLE if option.name == "hurricane_settings")

LoadSettings = Callable[[str | None, str | None, str | None], Mapping[str, object]]
"""From --settings, where that came from, and --pythonpath, to the setting ``TWISTSERVE``."""

ReadSettings = Callable[[Collection[str]], Mapping[str, object]]
"""From names to the Django settings that there are of them, once they are loaded."""


def resolve(
    given: Mapping[str, object],
    environ: Mapping[str, str],
    load_settings: LoadSettings,
    defaults: Mapping[str, object] = MappingProxyType({}),
    read_settings: ReadSettings = lambda names: {},
) -> Configuration:
    """Validate every value once and return those in force.

    `given` holds raw values of the command line by option name; `load_settings` makes Django's settings
    available, of which `read_settings` then gives others than TWISTSERVE; `defaults` are values in place of the
    table's, of manage.py serve. Raises `StartError`.
    """
    variables = _variables(environ)
    layers = _own_layers(given, variables, load_settings)
    theirs = Hurricane(variables, read_settings(hurricane.READ))
    with_settings, said = _find(_HURRICANE_SETTINGS, layers)
    layers += theirs.layers(with_settings)
    won = {name: found for layer in reversed(layers) for name, found in layer.items()}
    notices = tuple(theirs.notices(won, with_settings if said else None))
    derived = dict.fromkeys(defaults, "default with manage.py serve")
    in_force, sources = _in_force(TABLE, layers, environ, defaults, derived)
    return complete(Configuration(**in_force, sources=sources, defaults=derived, notices=notices))


def resolve_consumer(
    given: Mapping[str, object],
    environ: Mapping[str, str],
    load_settings: LoadSettings,
    defaults: Mapping[str, object] = MappingProxyType({}),
    read_settings: ReadSettings = lambda names: {},
    origin: str = COMMAND_LINE,
) -> ConsumerConfiguration:
    """The same for a consumer: of Django-Hurricane's names, those of its consumer count. Raises `StartError`.

    `origin` says where the raw values in `given` come from.
    """
    variables = _variables(environ)
    layers = _own_layers(given, variables, load_settings, origin)
    layers += hurricane.of_consumer(variables, read_settings(tuple(hurricane.AMQP)))
    derived = dict.fromkeys(defaults, "default with manage.py consume")
    in_force, sources = _in_force(CONSUMER_TABLE, layers, environ, defaults, derived)
    return complete_consumer(ConsumerConfiguration(**in_force, sources=sources, defaults=derived))


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if value and not is_service_link(name, value)}


def _own_layers(
    given: Mapping[str, object], variables: Mapping[str, str], load_settings: LoadSettings, origin: str = COMMAND_LINE
) -> list[Layer]:
    """What our own sources say: the command line, the environment, and the setting, for which settings are loaded."""
    layers: list[Layer] = [{name: (origin, raw) for name, raw in given.items()}, _from_environment(variables)]
    (settings, named_by), (pythonpath, _) = (_find(option, layers) for option in TABLE[:2])
    return [*layers, _from_setting(load_settings(settings, named_by, pythonpath))]


def _in_force(
    table: Sequence[Option],
    layers: Sequence[Layer],
    environ: Mapping[str, str],
    defaults: Mapping[str, object],
    derived: dict[str, str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a table's options and where they came from; `derived` is told of defaults that are not its."""
    in_force: dict[str, Any] = dict(defaults)
    sources: dict[str, str] = {}
    for option in table:
        value, source = _find(option, layers)
        if source is not None:
            in_force[option.name] = value
            sources[option.name] = source
    if in_force.get("debug") and "log_level" not in sources:
        in_force["log_level"], derived["log_level"] = "DEBUG", "default with --debug"
    drains = any(option.name == "drain_delay" for option in table)
    if drains and "drain_delay" not in sources and "KUBERNETES_SERVICE_HOST" in environ:
        in_force["drain_delay"], derived["drain_delay"] = 5.0, "default inside Kubernetes"
    if "settings" not in sources and environ.get(SETTINGS_MODULE):
        in_force["settings"], derived["settings"] = (
            environ[SETTINGS_MODULE],
            f"the environment variable {SETTINGS_MODULE}",
        )
    return in_force, sources


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Names in the environment that look like an option's but are none, and which may have been meant."""
    known = {ENVIRONMENT_PREFIX + option.key for option in _OPTIONS.values()}
    return {
        name: next(iter(difflib.get_close_matches(name, known, 1)), None)
        for name, value in sorted(environ.items())
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known and not is_service_link(name, value)
    }


def unknown_keys(setting: Mapping[Any, object]) -> dict[Any, str]:
    """Keys of the setting ``TWISTSERVE`` that are no option's, and what may have been meant, in words."""
    names = list(_SETTABLE)
    close = {key: difflib.get_close_matches(str(key).upper(), names, 1) for key in setting if key not in names}
    return {
        key: instead(str(key)) or (f"did you mean {meant[0]!r}?" if meant else f"there are {', '.join(names)}")
        for key, meant in close.items()
    }


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes has set a variable for a Service: its name may be an option's, its value then is not.

    A Service `twistserve-probe` gives TWISTSERVE_PROBE_PORT=tcp://10.0.0.7:8001.
    """
    return _SERVICE_NAME.fullmatch(name) is not None or _SERVICE_VALUE.fullmatch(value) is not None


def _from_environment(variables: Mapping[str, str]) -> Layer:
    for name in sorted(variables):
        if name.startswith(ENVIRONMENT_PREFIX) and (remedy := instead(name.removeprefix(ENVIRONMENT_PREFIX))):
            raise StartError(f"the environment variable {name} is not an option: {remedy}")
    names = {name: ENVIRONMENT_PREFIX + option.key for name, option in _OPTIONS.items()}
    return {
        name: (f"the environment variable {variable}", variables[variable])
        for name, variable in names.items()
        if variable in variables
    }


def _from_setting(setting: object) -> Layer:
    if not isinstance(setting, Mapping):
        raise StartError(
            f"the setting TWISTSERVE is a {type(setting).__name__}: give a dictionary such as {{'PORT': 8000}}"
        )
    for key, hint in unknown_keys(setting).items():
        raise StartError(f"the setting TWISTSERVE has an unknown key {key!r}: {hint}")
    return {
        _SETTABLE[key]: (f"the setting TWISTSERVE[{key!r}]", raw) for key, raw in setting.items() if raw is not None
    }


def _find(option: Option, layers: Sequence[Layer]) -> tuple[Any, str | None]:
    for layer in layers:
        if option.name in layer:
            source, raw = layer[option.name]
            return _validate(option, raw, source), source
    return option.default, None


def _validate(option: Option, raw: object, source: str) -> object:
    if not option.repeatable:
        return _validate_one(option, raw, source)
    # A list, or text with one value a line.
    items = [line for line in raw.splitlines() if line.strip()] if isinstance(raw, str) else raw
    if not isinstance(items, (list, tuple)):
        raise _invalid(option, raw, source, "give a list")
    if option.name == "command":
        items = [hurricane.command(item) for item in items]
    return tuple(_validate_one(option, item, source) for item in items)


def _validate_one(option: Option, raw: object, source: str) -> object:
    if option.flag and isinstance(raw, bool):
        return raw
    text = _as_text(raw)
    try:
        # What is no text is not valid, and the option knows best what would be.
        parsed = option.kind.parse(repr(raw) if text is None else text)
    except ValueError as error:
        raise _invalid(option, raw, source, str(error)) from error
    if text is None:
        raise _invalid(option, raw, source, f"give text, not a {type(raw).__name__}")
    return parsed


def _invalid(option: Option, raw: object, source: str, remedy: str) -> StartError:
    return StartError(f"--{option.word}: {redaction.redacted(repr(raw))} from {source} is not valid: {remedy}")


def _as_text(raw: object) -> str | None:
    """The value as it would be typed; None for one of a type that cannot be typed."""
    typed = isinstance(raw, (str, int, float)) and not isinstance(raw, bool)
    return str(raw) if typed or hasattr(raw, "__fspath__") else None
