"""What only the chart makes: valid for Kubernetes and the custom resources' types, and as its values say."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.helm import NAMESPACE, RELEASE, helm, notes, rendered
from tests.manifests.programs import KUBECTL, custom_faults, run
from tests.support.chart.written import DEPLOY
from tests.support.functional.manifests import CUSTOM, faults, violations
from twistserve.kubernetes import scaling

Objects = dict[str, dict[str, Any]]
"""By their kinds; that of the migrations has a dash and the kind behind it."""

_KINDS = {"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}
_MONITORING = {
    name: {"enabled": True, "labels": {"release": "prometheus"}} for name in ("podMonitor", "prometheusRule")
}
_PEER = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}


def _threads(found: Objects) -> None:
    spec = found["HorizontalPodAutoscaler"]["spec"]
    [metric] = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == scaling.METRIC
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": f"{int(scaling.TARGET * 1000)}m"}
    assert spec["behavior"] == scaling.BEHAVIOR


def _keda(found: Objects) -> None:
    assert "HorizontalPodAutoscaler" not in found
    spec = found["ScaledObject"]["spec"]
    [trigger] = spec["triggers"]
    selector = f'namespace="{NAMESPACE}",pod=~"{RELEASE}-[0-9a-f]+-[0-9a-z]+"'
    assert trigger["metadata"]["query"] == scaling.QUERY.replace(scaling.SELECTOR, selector)
    assert float(trigger["metadata"]["threshold"]) == scaling.TARGET
    assert spec["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == scaling.BEHAVIOR


def _routes(found: Objects) -> None:
    [rule] = found["HTTPRoute"]["spec"]["rules"]
    [backend] = rule["backendRefs"]
    [port] = found["Service"]["spec"]["ports"]
    assert backend == {"name": found["Service"]["metadata"]["name"], "port": port["port"]}
    assert found["Ingress"]["spec"]["tls"] == [{"hosts": ["shop.example.com"], "secretName": "shop-tls"}]
    assert found["Ingress"]["spec"]["ingressClassName"] == "nginx"


def _policy(found: Objects) -> None:
    web, probes = found["NetworkPolicy"]["spec"]["ingress"]
    assert web == {"ports": [{"port": 8000, "protocol": "TCP"}]}
    assert [port["port"] for port in probes["ports"]] == [8001]
    assert probes["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def _narrow_policy(found: Objects) -> None:
    """An empty list of peers would mean everybody."""
    [web] = found["NetworkPolicy"]["spec"]["ingress"]
    assert web == {"ports": [{"port": 8080, "protocol": "TCP"}, {"port": 8443, "protocol": "TCP"}], "from": [_PEER]}


def _monitoring(found: Objects) -> None:
    assert found["PrometheusRule"]["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    dashboard = found["ConfigMap"]["data"]["twistserve.json"]
    assert json.loads(dashboard) == json.loads((DEPLOY / "grafana" / "twistserve.json").read_text())
    assert found["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["PodMonitor"]["metadata"]["labels"]["release"] == "prometheus"


def _migrations(found: Objects) -> None:
    job, pods = found["Job"], found["Deployment"]["spec"]["template"]
    [container], [served] = job["spec"]["template"]["spec"]["containers"], pods["spec"]["containers"]
    assert container["command"] == ["python", "manage.py", "migrate", "--noinput"]
    assert served["args"] == ["--check-migrations"]
    assert served["startupProbe"]["failureThreshold"] == 300
    for name in ("image", "env", "envFrom", "securityContext", "resources", "volumeMounts"):
        assert container[name] == served[name], name
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["metadata"]["labels"] != found["Service"]["spec"]["selector"]
    account = found["ServiceAccount-migrations"]["metadata"]
    assert account["name"] == job["spec"]["template"]["spec"]["serviceAccountName"] == "shop-migrations"
    assert account["annotations"]["example.com/role"] == "shop"


def _extras(found: Objects) -> None:
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "registry.example:5000/shop@sha256:" + 64 * "0"
    assert container["env"][0] == {"name": "DJANGO_SETTINGS_MODULE", "value": "shop.settings"}
    [secret] = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    assert secret == {"name": "hooks", "key": "TWISTSERVE_WEBHOOK_SECRET"}
    assert {"name": "TWISTSERVE_STATIC", "value": "false"} in container["env"]
    assert {"name": "LANG", "value": "C.UTF-8"} in container["env"]
    assert "args" not in container
    assert [volume["name"] for volume in pod["volumes"]] == ["temporary", "media"]
    assert found["Service"]["metadata"]["name"] == "till"


CASES: dict[str, tuple[Mapping[str, Any], set[str], Callable[[Objects], None] | None]] = {
    "defaults": ({}, {"HorizontalPodAutoscaler"}, None),
    "threads": ({"autoscaling": {"by": "threads"}}, {"HorizontalPodAutoscaler"}, _threads),
    "keda": (
        {"autoscaling": {"by": "keda", "keda": {"serverAddress": "http://prometheus:9090", "authentication": "me"}}},
        {"ScaledObject"},
        _keda,
    ),
    "routes": (
        {
            "ingress": {"enabled": True, "host": "shop.example.com", "className": "nginx", "tlsSecret": "shop-tls"},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["shop.example.com"]},
        },
        {"HorizontalPodAutoscaler", "HTTPRoute", "Ingress"},
        _routes,
    ),
    "a network policy": ({"networkPolicy": {"enabled": True}}, {"HorizontalPodAutoscaler", "NetworkPolicy"}, _policy),
    "a narrow network policy": (
        {
            "networkPolicy": {"enabled": True, "web": [_PEER], "prometheus": []},
            "options": {"endpoint": ["tcp:8080", "tls:/certs:port=8443"]},
            "autoscaling": {"enabled": False},
            "replicas": 3,
        },
        {"NetworkPolicy"},
        _narrow_policy,
    ),
    "monitoring": (
        {**_MONITORING, "dashboard": {"enabled": True}},
        {"HorizontalPodAutoscaler", "PodMonitor", "PrometheusRule", "ConfigMap"},
        _monitoring,
    ),
    "migrations": (
        {
            "migrations": {"enabled": True},
            "secretOptions": ["webhook-url"],
            "imageOptions": {"check-migrations-apply": True},
            "options": {"check-migrations-apply": False},
            "envFrom": [{"secretRef": {"name": "shop-environment"}}],
            "serviceAccount": {"annotations": {"example.com/role": "shop"}},
        },
        {"HorizontalPodAutoscaler", "Job", "ServiceAccount-migrations"},
        _migrations,
    ),
    "extras": (
        {
            "fullnameOverride": "till",
            "image": {
                "repository": "registry.example:5000/shop",
                "digest": "sha256:" + 64 * "0",
                "pullPolicy": "IfNotPresent",
            },
            "imagePullSecrets": [{"name": "registry"}],
            "settings": "shop.settings",
            "options": {"static": False},
            "imageOptions": {"static": True, "check-migrations-apply": True},
            "secretOptions": ["webhook-secret"],
            "secretName": "hooks",
            "env": [{"name": "LANG", "value": "C.UTF-8"}],
            "volumes": [{"name": "media", "persistentVolumeClaim": {"claimName": "media"}}],
            "volumeMounts": [{"name": "media", "mountPath": "/srv/media"}],
            "podLabels": {"team": "shop"},
            "podAnnotations": {"example.com/a": "1"},
            "priorityClassName": "high",
            "nodeSelector": {"disk": "fast"},
            "affinity": {"nodeAffinity": {}},
            "tolerations": [{"key": "a", "operator": "Exists"}],
        },
        {"HorizontalPodAutoscaler"},
        _extras,
    ),
}
"""Values, the kinds that there are besides those that there always are, and what holds of them."""

NOTES: list[tuple[Mapping[str, Any], str]] = [
    ({"image": {"repository": "shop"}}, "image has no tag"),
    ({"image": {"repository": "shop", "tag": "latest"}}, "image has the tag latest"),
    ({"secretOptions": ["check"]}, "create secret generic shop-secrets --from-literal=TWISTSERVE_CHECK=..."),
    ({"resources": {"cpu": 1}}, "resources are those of a small project (1 CPU, 256Mi)"),
    ({"options": {"drain-delay": 1.5}}, "drain-delay closes the port before proxies have heard of it"),
    ({"options": {"host": "::"}}, "serves IPv6 alone"),
    ({"options": {"probe": "/health"}}, "probe: /health is the livenessProbe too"),
    ({"options": {"probe-port": 8000}}, "every visitor of the site can read probes and metrics"),
    ({"options": {"command": ["migrate --noinput"]}}, "command: migrate runs in all pods"),
    ({"imageOptions": {"command": ["collectstatic"]}}, "command: collectstatic has nowhere to write"),
    ({"options": {"media": True}}, "media serves MEDIA_ROOT"),
    ({"ingress": {"enabled": True, "host": "a.example.com"}}, "https://a.example.com works only with a certificate"),
    ({"ingress": {"enabled": True, "host": "a.example.com"}}, "forwarded-allow-ips is not in the options"),
    ({"options": {"endpoint": ["haproxy:tcp:8000"]}}, "the PROXY protocol"),
    ({"options": {"endpoint": ["tls:/certs:port=8443"]}}, "needs its certificates in the pod"),
]


def check() -> None:
    """The cases, and what users are told."""
    custom: list[dict[str, Any]] = []
    for name, (values, kinds, holds) in CASES.items():
        lint = helm("lint", values, "--strict")
        assert lint.returncode == 0, lint.stdout
        found = {_key(each): each for each in rendered(values)}
        assert found.keys() == _KINDS | kinds, name
        assert {each["metadata"]["namespace"] for each in found.values()} == {NAMESPACE}
        assert list(faults(found)) == [], name
        for kind in found.keys() & {"Deployment", "Job"}:
            assert list(violations(found[kind]["spec"]["template"]["spec"])) == [], name
        if holds is not None:
            holds(found)
        assert _kustomized(found) == found.keys()
        custom += (each for kind, each in found.items() if kind in CUSTOM)
        sys.stdout.write(f"{name}: Kubernetes takes what the chart makes\n")
    assert {each["kind"] for each in custom} == set(CUSTOM)
    assert custom_faults(custom) == []
    for given, said in NOTES:
        assert said in notes(given), (given, said)
    assert "Read these" not in notes({"resources": {"cpu": 1, "memory": "512Mi"}})


def _key(found: Mapping[str, Any]) -> str:
    hook = found["kind"] == "ServiceAccount" and found["metadata"]["name"].endswith("-migrations")
    return f"{found['kind']}{'-migrations' * hook}"


def _kustomized(found: Objects) -> set[str]:
    """The objects that kustomize makes of these."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "rendered.yaml").write_text(yaml.safe_dump_all(found.values()))
        Path(directory, "kustomization.yaml").write_text("resources: [rendered.yaml]\nnamePrefix: eu-\n")
        built = list(yaml.safe_load_all(run(KUBECTL, "kustomize", directory)))
    assert all(each["metadata"]["name"].startswith("eu-") for each in built)
    return {_key(each) for each in built}
