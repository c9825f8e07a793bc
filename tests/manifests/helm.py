"""helm on the chart, without a cluster."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.programs import HELM
from tests.support.chart.written import CHART

RELEASE, NAMESPACE = "shop", "shops"
IMAGE = {"repository": "shop", "tag": "1"}


def helm(
    action: str, values: Mapping[str, Any], *words: str, release: str = RELEASE
) -> subprocess.CompletedProcess[str]:
    """Run helm template, or another action, with these values and an image."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "values.json")
        file.write_text(json.dumps({"image": IMAGE, **values}))
        command: list[str | Path] = [
            HELM,
            action,
            *([] if action == "lint" else [release]),
            CHART,
            "-f",
            file,
            "-n",
            NAMESPACE,
            *words,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(values: Mapping[str, Any], *words: str) -> list[dict[str, Any]]:
    """The objects that the chart makes."""
    done = helm("template", values, *words)
    assert done.returncode == 0, (values, done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each is not None]


def refusal(values: Mapping[str, Any], release: str = RELEASE) -> str:
    """What helm says of values that the chart refuses; "" if it takes them."""
    done = helm("template", values, release=release)
    if not done.returncode:
        return ""
    # Anything else is a fault of a template.
    assert "execution error at" in done.stderr or "values don't meet" in done.stderr, (values, done.stderr)
    return done.stderr


def notes(values: Mapping[str, Any]) -> str:
    """What helm prints after an installation."""
    done = helm("install", values, "--dry-run=client")
    assert done.returncode == 0, (values, done.stderr)
    return " ".join(done.stdout.partition("\nNOTES:\n")[2].split())
