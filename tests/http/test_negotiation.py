"""What clients want, by the weights that they give."""

from __future__ import annotations

import pytest

from twistserve.http.negotiation import weight, weights


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("gzip, br;q=0.5", {"gzip": 1.0, "br": 0.5}),
        ("GZIP;Q=0.5", {"gzip": 0.5}),
        ("text/html;level=1;q=0.7 , */* ; q=0.001", {"text/html": 0.7, "*/*": 0.001}),
        ("gzip;q=0", {"gzip": 0.0}),
        ("gzip;q=1.000", {"gzip": 1.0}),
        ("gzip;q=0.2, gzip;q=0.8, gzip;q=0.5", {"gzip": 0.8}),
    ],
)
def test_weights(header: str, found: dict[str, float]) -> None:
    """In any letters, with other parameters left out; what is named twice has the higher weight."""
    assert weights(header) == found


@pytest.mark.parametrize("quality", ["2", "1.1", "-1", "0.1234", "nan", "inf", "x", "", "\u0661"])
def test_a_weight_that_is_none(quality: str) -> None:
    """Is nothing that anybody wants; it raises nothing, for a client has sent it."""
    assert weights(f"gzip;q={quality}") == {"gzip": 0.0}


def test_the_first_of_the_names_counts() -> None:
    """A thing that is refused by its name is not let in by a wildcard; one that nothing names is not wanted."""
    wanted = weights("text/html;q=0, text/*;q=0.3, */*;q=0.1")
    assert weight(wanted, "text/html", "text/*", "*/*") == 0.0
    assert weight(wanted, "text/plain", "text/*", "*/*") == 0.3
    assert weight(wanted, "application/json", "application/*", "*/*") == 0.1
    assert weight({}, "text/html", "*/*") == 0.0
