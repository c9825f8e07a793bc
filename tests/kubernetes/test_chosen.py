"""What --image and --set may say."""

from __future__ import annotations

import pytest

from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen, chosen, image_notice


def of(*words: str, image: str | None = None, settings: str | None = "shop.settings") -> Chosen:
    return chosen(image, words, settings)


def test_all_keys() -> None:
    """In the units of Kubernetes."""
    words = ("name=shop-eu", "namespace=shops", "min-replicas=3", "max-replicas=30", "cpu=1.5", "memory=1Gi")
    assert of(*words, "host=shop.example.com", image="registry.example:5000/shop:1") == Chosen(
        name="shop-eu",
        image="registry.example:5000/shop:1",
        namespace="shops",
        min_replicas=3,
        max_replicas=30,
        cpu=1500,
        memory=1 << 30,
        host="shop.example.com",
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("shop.settings", "shop"),
        ("Book_Shop.settings.production", "book-shop"),
        ("config.settings", "web"),
        ("settings", "web"),
        ("sh\u00f6p.settings", "web"),
        (None, "web"),
    ],
)
def test_the_name_is_the_projects(settings: str | None, name: str) -> None:
    """Where it can be one of Kubernetes, and names a project at all; the image is called the same."""
    made = of(settings=settings)
    assert (made.name, made.image, made.secret) == (name, name, f"{name}-secrets")


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [((), 2, 10), (("min-replicas=20",), 20, 20), (("max-replicas=1",), 1, 1), (("max-replicas=50",), 2, 50)],
)
def test_one_of_the_two_bounds(words: tuple[str, ...], least: int, most: int) -> None:
    """The other one follows where it has to."""
    made = of(*words)
    assert (made.min_replicas, made.max_replicas) == (least, most)


def test_a_fixed_number() -> None:
    """No autoscaler then; and the last of two counts."""
    assert of("replicas=4", "replicas=3").replicas == 3
    assert of().replicas is None


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("replica=1", r"--set: 'replica' is not a known key \(did you mean replicas\?\): there are name, namespace"),
        ("colour=red", "--set: 'colour' is not a known key: there are name, namespace, replicas, min-replicas"),
        ("min_replicas=1", "did you mean min-replicas"),
        ("name", "name has no value: write --set name=VALUE"),
        ("name=Shop", "--set: name='Shop' is not valid: give lower-case letters"),
        ("name=" + "x" * 64, "at most 63"),
        ("namespace=a.b", "namespace='a.b' is not valid"),
        ("replicas=0", "replicas='0' is not valid: give a whole number, 1 or more"),
        ("cpu=", "cpu='' is not valid: give CPUs, such as 1, 0.5 or 500m"),
        ("cpu=0m", "give CPUs"),
        ("memory=512m", "memory='512m' is not valid: give at least 32Mi"),
        ("memory=512", "at least 32Mi"),
        ("memory=1.5Gi", "a whole number"),
        ("host=https://shop.example.com", "without scheme and port"),
    ],
)
def test_what_is_not_valid(word: str, said: str) -> None:
    """One sentence with the key, the value and what would be right."""
    with pytest.raises(StartError, match=said):
        of(word)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("replicas=3", "max-replicas=5"), "replicas is a fixed number, and max-replicas is an autoscaler's"),
        (("min-replicas=3", "max-replicas=2"), "max-replicas, 2, is less than min-replicas, 3"),
    ],
)
def test_what_contradicts_itself(words: tuple[str, ...], said: str) -> None:
    """Neither is preferred in silence."""
    with pytest.raises(StartError, match=said):
        of(*words)


@pytest.mark.parametrize(
    "image", ["", "Shop:1", "shop:", "shop :1", "https://registry.example/shop:1", "-x", "shop:1:2"]
)
def test_what_is_no_image(image: str) -> None:
    """It would be told by the kubelet of each pod."""
    with pytest.raises(StartError, match=r"--image: .* is not valid: give an image such as"):
        of(image=image)


@pytest.mark.parametrize("image", ["shop:1", "registry.example:5000/a/shop_b:v1.2-x", "shop@sha256:" + "0" * 64])
def test_an_image_that_does_not_move(image: str) -> None:
    """A tag or a digest says which it is."""
    assert of(image=image).image == image
    assert image_notice(image) is None


@pytest.mark.parametrize(
    ("image", "said"),
    [("shop", "no tag"), ("registry.example:5000/shop", "no tag"), ("shop:latest", "the tag latest")],
)
def test_an_image_that_moves(image: str, said: str) -> None:
    """A registry's port is no tag."""
    assert f"--image: {image!r} has {said}" in str(image_notice(image))
