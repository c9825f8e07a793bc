"""The Deployment of the web service: its pods, and how they are replaced."""

from __future__ import annotations

from typing import Any

from twistserve.kubernetes import pod, times
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.objects import labels, manifest
from twistserve.kubernetes.resources import temporary_files
from twistserve.kubernetes.words import COMMAND, Words
from twistserve.kubernetes.yaml import Remark
from twistserve.options import Configuration


def deployment(configuration: Configuration, chosen: Chosen, words: Words) -> dict[str, Any]:
    """The Deployment. It has `replicas` only if they are fixed: applying it would reset the autoscaler's number."""
    fixed = {} if chosen.replicas is None else {"replicas": chosen.replicas}
    spec = {
        **fixed,
        "progressDeadlineSeconds": times.progress_deadline(configuration),
        "selector": {"matchLabels": labels(chosen)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": "25%",
                "maxUnavailable": Remark("A pod leaves when the one in its place is ready.", 0),
            },
        },
        "template": _template(configuration, chosen, words),
    }
    return manifest("apps/v1", "Deployment", chosen, spec=spec)


def _template(configuration: Configuration, chosen: Chosen, words: Words) -> dict[str, Any]:
    delay, graceful = configuration.drain_delay, configuration.graceful_timeout
    temporary = Remark(
        f"Two bodies of --max-body-size for each of {configuration.threads * configuration.workers} request threads."
        " What exceeds it evicts the pod.",
        f"{temporary_files(configuration)}Mi",
    )
    return pod.template(
        configuration,
        chosen,
        words,
        command=COMMAND,
        temporary=temporary,
        grace=f"--drain-delay ({delay:g}), --graceful-timeout ({graceful:g}), and 10 for the end. No preStop is"
        " needed.",
        readiness=f"timeoutSeconds is one more than --check-timeout ({configuration.check_timeout:g}).",
    )
