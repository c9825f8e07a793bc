"""Courses of the rate of requests, as multiples of what one pod with a whole CPU can serve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """A rate over time."""

    name: str
    title: str
    rate: Callable[[float], float]
    """The rate, in multiples of what a pod can serve with a CPU, at a second of the course."""
    seconds: int
    steps: tuple[int, ...] = ()
    """Seconds at which the rate jumps up: no autoscaler can have pods ready at once."""


def wave(now: float) -> float:
    """A day in an hour: from one pod's worth at night to twenty at noon."""
    return 10.5 - 9.5 * math.cos(2 * math.pi * now / 3600)


def stepped(factor: float, start: int = 600, end: int = 1800, base: float = 1.5) -> Callable[[float], float]:
    """A rate that is `factor` times as high from one second to another."""
    return lambda now: base * factor if start <= now < end else base


def day_with_events(now: float) -> float:
    """The plot's: a wave with a step up and down on its slope, and a spike of a minute after noon."""
    event = 4.0 if 900 <= now < 1500 else 8.0 if 2400 <= now < 2460 else 0.0
    return 0.6 * wave(now) + event


SCENARIOS = (
    Scenario("wave", "a day in an hour, from 1 to 20 pods' worth", wave, 3600),
    Scenario("step x3", "three times the rate for 20 minutes", stepped(3), 2700, (600,)),
    Scenario("step x10", "ten times the rate for 20 minutes", stepped(10), 2700, (600,)),
    Scenario("spike", "five times the rate for one minute", stepped(5, end=660), 1800, (600,)),
)
SHOWN = Scenario("day", "a day in an hour with a step and a spike", day_with_events, 3600, (900, 2400))
