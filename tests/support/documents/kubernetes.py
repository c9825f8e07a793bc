"""Objects of Kubernetes in YAML, whole or in part, against its schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

VERSION = "1.37"
CHART = Path(__file__).resolve().parents[3] / "deploy" / "chart"

PROBES = {"startupProbe", "readinessProbe", "livenessProbe"}
OF_A_CONTAINER = {"image", "command", "args", "env", "envFrom", "ports", "resources", "volumeMounts", "lifecycle"}
OF_A_CONTAINER |= PROBES | {"securityContext", "workingDir"}


def object_faults(document: Any, text: str) -> Iterator[str]:
    """What a document of YAML has that it should not have, if it is Kubernetes' or the chart's."""
    if not isinstance(document, dict):
        return
    if text.startswith("# values.yaml"):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = _merged(yaml.safe_load((CHART / "values.yaml").read_text()), document)
        for error in Draft202012Validator(schema).iter_errors(values):
            yield f"{error.json_path}: {error.message}"
        return
    whole = _completed(document)
    if whole is None:
        return
    try:
        validate(whole, VERSION, strict=True)
    except SchemaNotFoundError:
        if "." not in whole["apiVersion"]:
            yield f"{whole['apiVersion']} has no {whole['kind']}"
    except ValidationError as error:
        yield f"{whole['kind']}: {error.message} at {'.'.join(map(str, error.absolute_path))}"


def _merged(values: Any, others: Any) -> Any:
    """Values of the chart with others in their place, as Helm merges them."""
    if not isinstance(values, dict) or not isinstance(others, dict):
        return others
    return values | {key: _merged(values.get(key), value) for key, value in others.items()}


def _completed(document: dict[str, Any]) -> dict[str, Any] | None:
    """The object that a document is, or is a part of; None if it is none of Kubernetes."""
    keys = document.keys()
    if {"apiVersion", "kind"} <= keys:
        return document
    pod: dict[str, Any] | None = None
    if "containers" in keys and isinstance(document["containers"], list):
        pod = document
    elif keys and keys <= OF_A_CONTAINER:
        pod = {"containers": [{"name": "web", **document}]}
    elif keys == {"metadata", "spec"} and "rules" in document["spec"]:
        return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", **document}
    elif keys == {"spec"} and "template" in document["spec"]:
        pod = document["spec"]["template"].get("spec")
    return pod and {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": pod}
