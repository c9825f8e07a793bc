"""The chart's values that say the same as words of `manage.py kubernetes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from twistserve.kubernetes import scaling
from twistserve.kubernetes.words import is_secret
from twistserve.options import TABLE, Option
from twistserve.redaction import short_size


class Line(NamedTuple):
    """A command line, taken apart."""

    options: list[str]
    sets: list[str]
    pod_monitor: bool
    scale_by: str


def parted(line: tuple[str, ...]) -> Line:
    """The options of the server, the values of --set, and the options of the manifests."""
    found = Line([], [], "--pod-monitor" in line, scaling.CPU)
    words = iter(word for word in line if word != "--pod-monitor")
    for word in words:
        if word == "--set":
            found.sets.append(next(words))
        elif word == "--scale-by":
            found = found._replace(scale_by=next(words))
        else:
            found.options.append(word)
    return found


def values(line: Line, setting: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the chart, valid or not."""
    options, secrets = _options(line.options)
    found = {
        "options": options,
        "imageOptions": {key.lower().replace("_", "-"): value for key, value in setting.items()},
        "secretOptions": secrets,
        "podMonitor": {"enabled": line.pod_monitor},
        "autoscaling": {"by": line.scale_by},
    }
    for text in line.sets:
        key, _, value = text.partition("=")
        found |= _of_set(key, value, found)
    return found


def _options(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options whose values may be read, and the words of the others."""
    table = {f"--{option.word}": option for option in TABLE}
    found: dict[str, Any] = {}
    secrets: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word not in table:
            found[word.removeprefix("--no-")] = False
            continue
        option = table[word]
        text = "true" if option.flag else next(remaining)
        value = option.kind.parse(text)
        if is_secret(option, (value,) if option.repeatable else value):
            secrets.append(option.word)
        plain = one_value(option, text)
        found[option.word] = [*found.get(option.word, []), plain] if option.repeatable else plain
    return {word: value for word, value in found.items() if word not in secrets}, secrets


def one_value(option: Option, text: str) -> Any:
    """A value as a values file, or the setting TWISTSERVE, has it."""
    value = option.kind.parse(text)
    if option.kind.metavar == "SIZE":
        text = short_size(value)
        return int(text) if text.isdigit() else text
    return ",".join(value) if isinstance(value, tuple) else value


def _of_set(key: str, value: str, found: Mapping[str, Any]) -> dict[str, Any]:
    if key in ("cpu", "memory"):
        number: Any = value
        if value.replace(".", "").isdigit():
            number = float(value) if key == "cpu" else int(value)
        return {"resources": {**found.get("resources", {}), key: number}}
    if key == "replicas":
        return {"replicas": int(value), "autoscaling": {"enabled": False}}
    if key == "max-replicas":
        return {"autoscaling": {**found["autoscaling"], "maxReplicas": int(value)}}
    return {"ingress": {"enabled": True, "host": value}} if key == "host" else {}
