"""kustomize builds on what `manage.py kubernetes` prints, and what it makes is valid."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.manifests.programs import KUBECTL, custom_faults, run
from tests.support.functional.harness import write_project
from tests.support.functional.manifests import CUSTOM, MATRIX, faults, objects, print_manifests, violations

_KUSTOMIZATION = """
resources: [printed.yaml]
namespace: elsewhere
nameSuffix: -eu
images:
  - {name: shop, newName: registry.example/shop, newTag: "2"}
patches:
  - target: {kind: Deployment}
    patch: |
      - op: add
        path: /spec/template/spec/containers/0/envFrom
        value: [{secretRef: {name: shop-environment}}]
"""


def check() -> None:
    """The whole matrix."""
    custom: list[dict[str, Any]] = []
    for name, words in MATRIX.items():
        with tempfile.TemporaryDirectory() as directory:
            for found in _built(write_project(Path(directory)), words):
                custom += (each for kind, each in found.items() if kind in CUSTOM)
        sys.stdout.write(f"{name}: kustomize builds, and Kubernetes takes it\n")
    assert custom_faults(custom) == []


def _built(directory: Path, words: tuple[str, ...]) -> tuple[dict[str, dict[str, Any]], ...]:
    """What is printed, and what kustomize makes of it."""
    done = print_manifests("--image", "shop:1", *words, cwd=directory)
    assert done.returncode == 0, done.stderr
    (directory / "printed.yaml").write_text(done.stdout)
    (directory / "kustomization.yaml").write_text(_KUSTOMIZATION)
    printed, built = objects(done.stdout), objects(run(KUBECTL, "kustomize", directory))
    assert built.keys() == printed.keys()
    for found in (printed, built):
        assert not list(faults(found))
        assert not list(violations(found["Deployment"]["spec"]["template"]["spec"]))
    assert {each["metadata"]["namespace"] for each in built.values()} == {"elsewhere"}
    name = built["Deployment"]["metadata"]["name"]
    pod = built["Deployment"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == built["ServiceAccount"]["metadata"]["name"]
    assert pod["containers"][0]["image"] == "registry.example/shop:2"
    if "HorizontalPodAutoscaler" in built:
        assert built["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name
    if "Ingress" in built:
        [path] = built["Ingress"]["spec"]["rules"][0]["http"]["paths"]
        assert path["backend"]["service"]["name"] == built["Service"]["metadata"]["name"]
    return printed, built
