"""The chart refuses what cannot work, with a sentence that names the value."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.manifests.helm import refusal
from tests.support.chart.written import CHART


def _options(**options: Any) -> dict[str, Any]:
    return {"options": {word.replace("_", "-"): value for word, value in options.items()}}


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    # Names, types and values.
    (_options(treads=16), "at '/options': additional properties 'treads' not allowed"),
    ({"option": {}}, "additional properties 'option' not allowed"),
    (_options(threads="16"), "at '/options/threads': got string, want integer"),
    (_options(threads=0), "at '/options/threads': minimum: got 0, want 1"),
    (_options(static="yes"), "at '/options/static': got string, want boolean"),
    (_options(app_version=1.1), "at '/options/app-version': got number, want string"),
    (_options(log_level="loud"), "at '/options/log-level'"),
    (_options(metrics="numbers"), 'options.metrics: "numbers" is not valid: give a path such as /ready, of letters'),
    (_options(max_body_size="1T"), 'options.max-body-size: "1T" is not valid: give bytes, a whole number above 0'),
    (_options(check=["caches", "disk"]), 'options.check: "disk" is not valid: give caches, storage'),
    ({"imageOptions": {"wsgi": "app"}}, 'imageOptions.wsgi: "app" is not valid: give the application'),
    ({"settings": "my-site"}, 'settings: "my-site" is not valid: give a dotted Python name'),
    ({"podMonitor": {"enabled": True, "interval": "often"}}, 'podMonitor.interval: "often" is not valid'),
    ({"podLabels": {"app.kubernetes.io/name": "a"}}, "'app.kubernetes.io/name'"),
    ({"ingress": None}, "missing property 'ingress'"),
    (_options(command="seed"), "at '/options/command': got string, want array"),
    ({"imageOptions": {"port": 65536}}, "at '/imageOptions/port': maximum: got 65,536, want 65,535"),
    ({"secretOptions": ["threads"]}, "at '/secretOptions/0'"),
    ({"image": {"repository": "shop", "tag": 1.1}}, "at '/image/tag': got number, want string"),
    ({"resources": {"memory": "lots"}}, 'resources.memory: "lots" is not valid: give at least 32Mi'),
    ({"resources": {"memory": "512m"}}, 'resources.memory: "512m" is not valid'),
    ({"autoscaling": {"by": "luck"}}, "at '/autoscaling/by'"),
    # Options that no pod can be served with.
    (_options(no_probe=True), "options.no-probe: Kubernetes would have nothing to ask"),
    (_options(host="127.0.0.1"), "options.host: 127.0.0.1 is not the pod's address, to which the Service and"),
    ({"imageOptions": {"host": "localhost"}}, "imageOptions.host: localhost is not the pod's address"),
    (_options(probe_host="127.0.0.1"), "options.probe-host: 127.0.0.1 is not the pod's address, to which the kubelet"),
    (_options(port=80), "options.port: 80 is a port that only a privileged process may open"),
    (_options(probe_port=81), "options.probe-port: 81 is a port"),
    (_options(endpoint=["unix:/run/web.sock"]), 'options.endpoint: "unix:/run/web.sock" has no port'),
    (_options(endpoint=["tcp:8000:interface=127.0.0.1"]), "is not reached from outside the pod at 127.0.0.1"),
    (_options(endpoint=["tls:/certs"]), "443 is a port that only a privileged process may open"),
    (_options(autoreload=True), "options.autoreload is for development: the files of an image do not change"),
    ({"imageOptions": {"debugger": True}}, "imageOptions.debugger is for development"),
    (_options(static_watch=["src"]), "options.static-watch is for development"),
    (_options(req_queue_len=0), "options.req-queue-len: 0 makes the readiness probe fail always"),
    # Options that the server does not start with.
    (_options(preload=True), "options.preload: it is workers that are forked"),
    (_options(port=65535), "options.port: 65535 leaves no port after it"),
    (_options(probe="/a", liveness_probe="/b"), "options.probe is the one path of readiness and liveness"),
    (_options(probe_port=8000, workers=2), "where with 2 workers each could tell of itself alone"),
    (_options(probe_port=8000, endpoint=["tcp:8000"]), "which the endpoints take the place of"),
    (_options(probe_port=8000, probe_host="::"), "options.probe-host: the probes are on the web port"),
    (_options(metrics="/ready"), 'options.metrics: "/ready" is the path of readiness-probe too'),
    (_options(metrics="/status.json"), "is the path of the status page's JSON too"),
    # Secrets.
    (_options(webhook_secret="hunter2"), "options.webhook-secret has a secret"),
    (_options(webhook_url=["https://hooks.example.com/x"]), "put the word webhook-url into secretOptions"),
    (_options(check=["broker=amqp://me:hunter2@queue"]), "options.check has a secret"),
    ({**_options(check=["caches"]), "secretOptions": ["check"]}, "options.check is in secretOptions too"),
    # The rest of the values.
    ({"image": {}}, "image.repository: give the image of your project"),
    ({"image": {"repository": "Shop"}}, 'image: "Shop" is not valid'),
    ({"env": [{"name": "TWISTSERVE_THREADS", "value": "16"}]}, "env: TWISTSERVE_THREADS is an option of the server"),
    ({"env": [{"name": "DJANGO_SETTINGS_MODULE", "value": "a"}]}, "env: DJANGO_SETTINGS_MODULE is the value settings"),
    ({"env": [{"name": "TMPDIR", "value": "/"}]}, "env: TMPDIR is where the pod has its temporary files"),
    ({"replicas": 3}, "replicas is a fixed number, and autoscaling.enabled an autoscaler's"),
    ({"autoscaling": {"enabled": False}}, "there is no number of pods: give replicas"),
    ({"autoscaling": {"maxReplicas": 1}}, "autoscaling.maxReplicas: 1 is less than minReplicas, 2"),
    ({"autoscaling": {"by": "keda"}}, 'autoscaling.keda.serverAddress: "" is not valid: give the URL of Prometheus'),
    ({**_options(no_metrics=True), "autoscaling": {"by": "threads"}}, "autoscaling.by: threads goes by metrics"),
    ({**_options(no_metrics=True), "podMonitor": {"enabled": True}}, "there are no metrics with options.no-metrics"),
    ({**_options(max_memory=300), "resources": {"memory": "256Mi"}}, "options.max-memory: 300 MB times 1 workers"),
    ({"resources": {"memory": "16Mi"}}, "resources.memory: 16Mi is less than 32Mi"),
    ({"resources": {"cpu": "0"}}, "resources.cpu: give CPUs"),
    ({"resources": {"cpu": "0m"}}, 'resources.cpu: "0m" is not valid: give CPUs'),
    ({"ingress": {"enabled": True}}, 'ingress.host: "" is not valid'),
    ({"ingress": {"enabled": True, "host": "https://a.example.com"}}, "without scheme and port"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: give the Gateway"),
    (
        {**_options(endpoint=["tls:/certs:port=8443"]), "ingress": {"enabled": True, "host": "a.example.com"}},
        "ingress: an Ingress speaks HTTP to pods",
    ),
    (
        {**_options(check_migrations_apply=True), "migrations": {"enabled": True}},
        "migrations.enabled has a Job apply the migrations",
    ),
    ({"fullnameOverride": "Shop"}, 'the name "Shop" is not valid for a Service'),
]
"""Values, and what is said of them."""


def check() -> None:
    """Each of them; and no value that is left empty has a template fail in other ways."""
    for values, said in REFUSED:
        assert said in refusal(values), (values, refusal(values))
    assert 'the name "1.shop" is not valid' in refusal({}, release="1.shop")
    for path in _paths(yaml.safe_load((CHART / "values.yaml").read_text())):
        refusal(_nothing_at(path))
    sys.stdout.write(f"{len(REFUSED)} wrong values: a sentence for each\n")


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, inner in values.items():
        yield (key,)
        if isinstance(inner, dict):
            yield from ((key, *path) for path in _paths(inner))


def _nothing_at(path: tuple[str, ...]) -> dict[str, Any]:
    """Values with a key and nothing behind it, which takes the chart's default away."""
    first, *rest = path
    return {first: _nothing_at(tuple(rest)) if rest else None}
