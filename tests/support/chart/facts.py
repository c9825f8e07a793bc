"""What the chart's templates know of the options and of twistserve/kubernetes: deploy/chart/files/facts.yaml."""

from __future__ import annotations

from typing import Any

from tests.support.chart import schema
from tests.support.options import resolved
from twistserve import redaction
from twistserve.consumer_options import CONSUMER_TABLE
from twistserve.kubernetes import chosen, consumer, pod, ports, resources, scaling, sense, times
from twistserve.kubernetes.words import COMMAND, is_secret
from twistserve.management.commands.kubernetes import INSIDE
from twistserve.options import STATUS_JSON, TABLE, Option
from twistserve.probes.client import MARGIN
from twistserve.process.ending import END
from twistserve.resolution import ENVIRONMENT_PREFIX, SETTINGS_MODULE, resolve_consumer

DERIVED = ("probe_port", "probe_host", "prefetch")
"""Options whose defaults follow from others."""
PASSWORD = (
    rf"""(?i)//.*@|//[^/\s:@\[]*:[^\d\s/'"]|(?:--[\w-]{{0,40}}(?:{redaction.KEYWORDS})\s+"""
    rf"""|(?:{redaction.KEYWORDS})["']?\s*[=:]\s*)\S"""
)
"""What `redaction.redacted` changes, without the lookaheads that Go's patterns do not have."""


def facts() -> dict[str, Any]:
    """The facts, of the types that YAML has."""
    inside = resolved(environ=INSIDE)
    return {
        "options": [_option(option, getattr(inside, option.name)) for option in TABLE[1:]],
        "environment": {"prefix": ENVIRONMENT_PREFIX, "settings": SETTINGS_MODULE},
        "container": {
            "command": COMMAND,
            "name": chosen.Chosen.component,
            "temporary": pod.TEMPORARY,
            "user": pod.USER,
        },
        "patterns": {
            "host": f"^{chosen.HOST.pattern}$",
            "image": f"^{chosen.IMAGE.pattern}$",
            "name": f"^{chosen.LABEL.pattern}$",
            "password": PASSWORD,
        },
        "ports": {
            "everywhere": [each for each in ports.EVERYWHERE if each],
            "privileged": ports.PRIVILEGED,
            "probes": ports.PROBES,
            "service": ports.SERVICE_PORTS,
        },
        "times": {
            "startupPeriod": times.STARTUP_PERIOD,
            "start": times.START,
            "startWithSteps": times.START_WITH_STEPS,
            "margin": MARGIN,
            "readinessPeriod": times.READINESS_PERIOD,
            "livenessPeriod": times.LIVENESS_PERIOD,
            "livenessFailures": times.LIVENESS_FAILURES,
            "spread": times.SPREAD,
            "end": END,
            "progress": times.PROGRESS,
        },
        "resources": {
            "units": chosen.UNITS,
            "leastMemory": chosen.LEAST_MEMORY,
            "oneProcess": resources.ONE_PROCESS,
            "eachProcess": resources.EACH_PROCESS,
            "times": resources.TIMES,
            "overMaxMemory": resources.OVER_MAX_MEMORY,
            "step": resources.STEP,
            "cpu": resources.CPU,
            "busy": resources.BUSY,
            "metrics": resources.METRICS,
            "otherFiles": resources.OTHER_FILES,
        },
        "scaling": {
            "metric": scaling.METRIC,
            "selector": scaling.SELECTOR,
            "query": scaling.QUERY,
            "targets": [{"most": most, "target": target} for most, target in reversed(scaling.TARGETS)],
            "many": scaling.MANY,
            "behavior": scaling.BEHAVIOR,
        },
        "statusPage": STATUS_JSON,
        "leastDelay": sense.LEAST_DELAY,
        "secret": [option.word for option in schema.both() if option.name in schema.SECRET and is_secret(option, "a")],
        "consumer": _of_consumers(),
        "development": {name.replace("_", "-"): why for name, why in sense.FOR_DEVELOPMENT.items()},
    }


def _of_consumers() -> dict[str, Any]:
    """What takes the place of the web service's facts; `inherited` are its defaults that consumers cannot change."""
    inside = resolve_consumer({}, INSIDE, lambda *_: {})
    words = {option.word for option in CONSUMER_TABLE}
    others = {option.word: getattr(inside, option.name) for option in TABLE if option.word not in words}
    return {
        "options": [_option(option, getattr(inside, option.name)) for option in CONSUMER_TABLE[1:]],
        "inherited": {word: _plain(value) for word, value in others.items() if value is not None},
        "container": {
            "command": consumer.COMMAND,
            "name": consumer.COMPONENT,
            "consumes": True,
            "temporaryFiles": int(consumer.TEMPORARY_SIZE.removesuffix("Mi")),
        },
        "queueScaling": {
            "minReplicas": chosen.Chosen.min_replicas,
            "maxReplicas": chosen.Chosen.max_replicas,
            "length": consumer.LENGTH,
        },
    }


def _option(option: Option, value: object) -> dict[str, Any]:
    found: dict[str, Any] = {"word": option.word}
    if value is not None and option.name not in DERIVED:
        found["default"] = ",".join(value) if option.kind.metavar == "LIST" else _plain(value)  # type: ignore[arg-type]
    if option.negatable:
        found["negatable"] = True
    if pattern := schema.pattern(option):
        found |= {"pattern": pattern, "remedy": schema.remedy(option)}
    return found


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
