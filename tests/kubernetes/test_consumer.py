"""The objects of a consumer."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.functional.manifests import faults, violations
from twistserve.consumer_options import ConsumerConfiguration
from twistserve.errors import StartError
from twistserve.kubernetes import consumer
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.words import words
from twistserve.resolution import resolve_consumer

URL = "amqp://user:hush@rabbit/"


def configuration(**given: Any) -> ConsumerConfiguration:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    typed = {"handler": "shop.Orders", "queue": "orders", **given}
    return resolve_consumer({name: raw for name, raw in typed.items() if raw is not None}, environ, lambda *_: {})


def rendered(chosen: Chosen | None = None, length: str = "50", **given: Any) -> dict[str, Any]:
    found = configuration(**given)
    chosen = consumer.named(chosen or Chosen(name="shop", image="shop:1"), [])
    text = consumer.text(found, chosen, words(found), length)
    assert "hush" not in text
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def test_its_objects() -> None:
    """No Service and no Ingress; the pods are as many as the queue is long."""
    found = rendered(amqp_url=URL)
    assert list(found) == ["ServiceAccount", "Deployment", "PodDisruptionBudget", "ScaledObject"]
    spec = found["ScaledObject"]["spec"]
    assert spec["scaleTargetRef"] == {"name": "shop-consumer"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 10)
    [trigger] = spec["triggers"]
    assert trigger["metadata"] == {
        "protocol": "amqp",
        "queueName": "orders",
        "mode": "QueueLength",
        "value": "50",
        "hostFromEnv": "TWISTSERVE_AMQP_URL",
    }
    assert "replicas" not in found["Deployment"]["spec"]
    assert list(faults(found)) == []
    assert list(violations(found["Deployment"]["spec"]["template"]["spec"])) == []


def test_its_container() -> None:
    """The command with the options that were typed; what has a password comes from the Secret."""
    pod = rendered(amqp_url=URL, graceful_timeout="60", prefetch="7")["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["command"] == ["python", "manage.py", "consume"]
    assert container["args"] == ["--handler=shop.Orders", "--queue=orders", "--prefetch=7", "--graceful-timeout=60"]
    secret = {"secretKeyRef": {"name": "shop-consumer-secrets", "key": "TWISTSERVE_AMQP_URL"}}
    assert {"name": "TWISTSERVE_AMQP_URL", "valueFrom": secret} in container["env"]
    assert container["ports"] == [{"name": "probes", "containerPort": 8001}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "probes"}
    assert pod["terminationGracePeriodSeconds"] == 70
    assert len(pod["topologySpreadConstraints"]) == 2


def test_a_pod_monitor() -> None:
    """For the probe port; without metrics there is nothing to monitor."""
    found = configuration(metrics="m", queue="orders")
    chosen = Chosen(name="orders", image="shop:1", replicas=1)
    *_, monitor = yaml.safe_load_all(consumer.text(found, chosen, words(found), "5", monitored=True))
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "probes", "path": "/m"}]
    found = configuration(no_metrics=True)
    with pytest.raises(StartError, match="no metrics with --no-metrics from the command line"):
        consumer.text(found, chosen, words(found), "5", monitored=True)


def test_a_number_of_pods_that_is_fixed() -> None:
    """By --set, or because KEDA would not find the broker."""
    found = rendered(Chosen(name="shop", image="shop:1", replicas=3), amqp_url=URL)
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert "ScaledObject" not in found
    found = rendered(amqp_host="rabbit")
    assert found["Deployment"]["spec"]["replicas"] == 2
    assert "ScaledObject" not in found


@pytest.mark.parametrize(
    ("given", "length", "said"),
    [
        ({"queue": None, "amqp_url": URL}, "5", "KEDA has to know the queue: give --queue"),
        ({"no_probe": True}, "5", "Kubernetes would have nothing to ask"),
        ({"probe_port": "80"}, "5", "--probe-port: 80 is a port that only a privileged process may open"),
        ({"probe_host": "127.0.0.1"}, "5", "--probe-host: 127.0.0.1 from the command line is not the pod's address"),
        ({"debugger": True}, "5", "--debugger from the command line is for development"),
        ({"command": ["seed \udcff"]}, "5", "not valid Unicode"),
        ({}, "0", "--queue-length: '0' is not valid: give a whole number, 1 or more"),
    ],
)
def test_what_cannot_be_printed(given: dict[str, Any], length: str, said: str) -> None:
    """In one line."""
    with pytest.raises(StartError, match=said):
        rendered(None, length, **given)


def test_where_keda_finds_the_broker() -> None:
    """By a variable of the pods; by the URL itself if it has no password, and variables of what completes it."""
    trigger = rendered(amqp_url="amqp://rabbit/")["ScaledObject"]["spec"]["triggers"][0]
    assert trigger["metadata"]["host"] == "amqp://rabbit/"
    assert "hostFromEnv" not in trigger["metadata"]
    found = rendered(amqp_url="amqp://rabbit/", amqp_user="me", amqp_password="hush")["ScaledObject"]
    metadata = found["spec"]["triggers"][0]["metadata"]
    assert metadata["usernameFromEnv"] == "TWISTSERVE_AMQP_USER"
    assert metadata["passwordFromEnv"] == "TWISTSERVE_AMQP_PASSWORD"
    assert "ScaledObject" not in rendered(amqp_url="amqp://rabbit/", amqp_password="hush")
    found = rendered(amqp_url=URL, amqp_user="another", amqp_password="hush")["ScaledObject"]
    assert "usernameFromEnv" not in found["spec"]["triggers"][0]["metadata"]


def test_a_password_of_the_image() -> None:
    """KEDA does not get it, so that the number of pods is fixed."""
    found = resolve_consumer({"handler": "shop.Orders", "queue": "orders"}, {}, lambda *_: {"AMQP_URL": URL})
    chosen = Chosen(name="shop-consumer", image="shop:1")
    text = consumer.text(found, chosen, words(found), "50")
    assert "kind: ScaledObject" not in text
    assert "hush" not in text
    assert any(
        "for pods by the queue's length; there are 2 now" in said
        for said in consumer.notices(found, chosen, words(found))
    )


def test_no_ingress() -> None:
    """A host name has no pods to send requests to."""
    with pytest.raises(StartError, match="--set host: an Ingress is for web pods"):
        rendered(Chosen(name="shop", host="shop.example.com"))


def test_its_name() -> None:
    """Beside the web service's, unless it is given."""
    assert consumer.named(Chosen(name="shop"), ["replicas=2"]).name == "shop-consumer"
    assert consumer.named(Chosen(name="orders"), ["name=orders"]).name == "orders"


def test_what_may_not_be_meant() -> None:
    """The image's tag, the Secret, no autoscaler, no dead-letter exchange."""
    found = configuration(amqp_host="rabbit", amqp_password="hush")
    image, secret, scaling, rejected = consumer.notices(found, Chosen(name="shop"), words(found))
    assert "--image" in image
    assert secret.endswith("generic shop-secrets --from-literal=TWISTSERVE_AMQP_PASSWORD=...")
    assert "for pods by the queue's length; there are 2 now" in scaling
    assert "--dead-letter-exchange is not set" in rejected
    found = configuration(amqp_url="amqp://rabbit", dead_letter_exchange="dead")
    assert list(consumer.notices(found, Chosen(name="shop", image="shop:1"), words(found))) == []


def test_options_of_the_other_command() -> None:
    """Are refused, rather than without effect."""
    arguments = {"consumer": "shop.Orders", "workers": "2", "queue": "orders", "threads": "3"}
    with pytest.raises(StartError, match="--workers is an option of serve"):
        consumer.given(arguments)
    del arguments["workers"]
    with pytest.raises(StartError, match="--scale-by is for the web service"):
        consumer.given({**arguments, "scale_by": "cpu"})
    assert consumer.given({**arguments, "scale_by": None})["threads"] == "3"
    assert consumer.given(arguments) == {"handler": "shop.Orders", "queue": "orders", "threads": "3"}
    with pytest.raises(StartError, match="--queue is an option of consume: give --consumer with it"):
        consumer.refuse_without(arguments)
    with pytest.raises(StartError, match="--queue-length scales a consumer: give --consumer with it"):
        consumer.refuse_without({"queue_length": "100"})
    consumer.refuse_without({"threads": "3", "queue": None, "queue_length": None})
