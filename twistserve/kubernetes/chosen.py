"""The values of --image and --set, which describe the cluster rather than the server."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from twistserve import values
from twistserve.errors import StartError

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
HOST = re.compile(r"(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
IMAGE = re.compile(
    r"([\w.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>[a-z0-9]+:[0-9a-f]{32,}))?",
    re.ASCII,
)
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
LEAST_MEMORY = 32 << 20
"""Bytes; Python does not start with less. Kubernetes accepts 512m, which is half a byte and always a mistake."""

_GENERIC = ("config", "conf", "core", "project", "settings", "site_settings", "src")
"""First parts of settings modules that do not name the project."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The image and the values of --set."""

    name: str = "web"
    """The name of every object, also used in the labels and as the prefix of the Secret's name."""
    component: str = "web"
    """What the pods are for, and the name of their container: "web" or "consumer"."""
    image: str = "web"
    namespace: str | None = None
    replicas: int | None = None
    """A fixed number of pods; None with an autoscaler."""
    min_replicas: int = 2
    max_replicas: int = 10
    cpu: int | None = None
    """Thousandths of a CPU; the pod's request."""
    memory: int | None = None
    """Bytes; the pod's request and limit."""
    host: str | None = None
    """The host name of the Ingress; None without one."""

    @property
    def secret(self) -> str:
        """The name of the Secret that holds the secret options."""
        return f"{self.name}-secrets"


def _label(text: str) -> str:
    if not LABEL.fullmatch(text):
        raise ValueError("give lower-case letters, digits and dashes, at most 63, beginning with a letter")
    return text


def _host(text: str) -> str:
    if not HOST.fullmatch(text) or len(text) > 253:
        raise ValueError("give a host name such as shop.example.com, in lower case, without scheme and port")
    return text


def _cpu(text: str) -> int:
    match = re.fullmatch(r"(\d+)m|(\d+(?:\.\d{1,3})?)", text, re.ASCII)
    thousandths = 0 if match is None else int(match[1]) if match[1] else round(float(match[2]) * 1000)
    if not thousandths:
        raise ValueError("give CPUs, such as 1, 0.5 or 500m")
    return thousandths


def _memory(text: str) -> int:
    match = re.fullmatch(rf"(\d+)({'|'.join(UNITS)})?", text, re.ASCII)
    size = 0 if match is None else int(match[1]) * UNITS.get(match[2], 1)
    if size < LEAST_MEMORY:
        raise ValueError("give at least 32Mi, a whole number with Mi, Gi, M or G behind it")
    return size


KEYS: dict[str, Callable[[str], Any]] = {
    "name": _label,
    "namespace": _label,
    "replicas": values.positive_integer,
    "min-replicas": values.positive_integer,
    "max-replicas": values.positive_integer,
    "cpu": _cpu,
    "memory": _memory,
    "host": _host,
}
"""The keys of --set, and the function that parses each value."""


def chosen(image: str | None, words: Sequence[str], settings: str | None) -> Chosen:
    """Parse --image and the words of --set; the last value of a repeated key counts. Raises `StartError`.

    The name defaults to the project's, taken from its settings module, and the image to the name.
    """
    found = dict(_pair(word) for word in words)
    if "replicas" in found and (other := found.keys() & {"min_replicas", "max_replicas"}):
        word = min(other).replace("_", "-")
        raise StartError(f"--set: replicas is a fixed number, and {word} is an autoscaler's: leave one of them out")
    if "min_replicas" in found:
        found.setdefault("max_replicas", max(found["min_replicas"], Chosen.max_replicas))
    elif "max_replicas" in found:
        found["min_replicas"] = min(found["max_replicas"], Chosen.min_replicas)
    name = found.pop("name", None) or _project(settings)
    made = Chosen(name=name, image=name if image is None else _valid_image(image), **found)
    if made.min_replicas > made.max_replicas:
        raise StartError(
            f"--set: max-replicas, {made.max_replicas}, is less than min-replicas, {made.min_replicas}: give it as"
            " many or more"
        )
    return made


def image_notice(image: str) -> str | None:
    """A warning about an image whose tag may move; None if the image is pinned."""
    match = IMAGE.fullmatch(image)
    if match is None or match["digest"] or (match["tag"] and match["tag"] != "latest"):
        return None
    what = "the tag latest" if match["tag"] else "no tag"
    return (
        f"--image: {image!r} has {what}, so that pods of one Deployment may run different versions, and a roll-back"
        " has nothing to go back to: give a tag that never moves, such as --image registry.example/shop:1"
    )


def _pair(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if key not in KEYS:
        close = difflib.get_close_matches(key, KEYS, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise StartError(f"--set: {key!r} is not a known key{hint}: there are {', '.join(KEYS)}")
    if not equals:
        raise StartError(f"--set: {key} has no value: write --set {key}=VALUE")
    try:
        return key.replace("-", "_"), KEYS[key](text)
    except ValueError as error:
        raise StartError(f"--set: {key}={text!r} is not valid: {error}") from error


def _project(settings: str | None) -> str:
    first = (settings or "").partition(".")[0]
    name = first.lower().replace("_", "-").strip("-")
    return Chosen.name if first.lower() in _GENERIC or not LABEL.fullmatch(name) else name


def _valid_image(image: str) -> str:
    if not IMAGE.fullmatch(image):
        raise StartError(f"--image: {image!r} is not valid: give an image such as registry.example/shop:1")
    return image
