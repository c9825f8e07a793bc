"""The files of the chart that are written from the code and from other files of deploy/."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.support.chart import schema
from tests.support.chart.facts import facts
from twistserve.consumer_options import CONSUMER_TABLE

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
CHART = DEPLOY / "chart"

_HEAD = (
    "# Written from twistserve/options.py and twistserve/kubernetes/ by python -m tests.kubernetes.test_chart: change\n"
    "# those.\n\n"
)
_COPIES = {"alerts.yaml": "prometheus/alerts.yaml", "twistserve.json": "grafana/twistserve.json"}
"""Helm reads only what is below the chart."""


def written() -> dict[Path, str]:
    """What each of the files should have."""
    found = {CHART / "files" / name: (DEPLOY / source).read_text() for name, source in _COPIES.items()}
    found[CHART / "files" / "facts.yaml"] = _HEAD + yaml.safe_dump(facts(), sort_keys=False, width=120)
    found[CHART / "values.schema.json"] = _schema()
    return found


def _schema() -> str:
    """The schema as it is, with the definitions that come from the code written anew."""
    path = CHART / "values.schema.json"
    whole = json.loads(path.read_text())
    whole["definitions"] = {
        "options": schema.options(),
        "secretOptions": schema.secret_options(),
        "consumerOptions": schema.options(CONSUMER_TABLE, but=("settings", "handler")),
        "consumerSecretOptions": schema.secret_options(CONSUMER_TABLE),
    }
    return json.dumps(whole, indent=2) + "\n"
