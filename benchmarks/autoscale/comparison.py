"""All rules in all cases, the figures by which they are compared, and the rule that wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.autoscale.arrivals import SCENARIOS, Scenario
from benchmarks.autoscale.measured import MIXES, THREADS
from benchmarks.autoscale.profile import Profile
from benchmarks.autoscale.rules import Rule
from benchmarks.autoscale.simulation import USUAL, Conditions, Outcome, simulate
from benchmarks.report import plain_table

SLOWER = 0.1
"""Seconds by which the p99 may exceed that of a pod without load: visitors hardly notice a tenth of a second, while a
multiple of a page that takes 2 ms would forbid what nobody notices."""
GRACE = 60
"""Seconds after a step that do not count: a pod more cannot serve earlier, and then has a queue to catch up with."""
KEPT = 0.05
"""The share of seconds in which a rule that keeps the goal may miss it, in each run."""
LEAST_WINDOW = 60
"""Seconds over which a rule must average to win: two scrapes of the Prometheus operator, which scrapes every 30 s."""
EQUAL = 0.02
"""Rules whose pod-hours differ by no more than this share count as equal: other seeds change them by half of it."""
SEEDS = (1, 2, 3)
"""A run is simulated with each; its figures are averages."""
NODES = {"nodes with room": 1.0, "full nodes": 0.5}
"""The share of a CPU that a pod gets if it can use it: on a full node what it has requested, half a CPU."""


@dataclass(frozen=True)
class Case:
    """A mix of requests on a kind of node."""

    mix: str
    nodes: str
    profile: Profile
    whole: float
    """Requests a second that a pod with a whole CPU can serve."""

    @property
    def goal(self) -> float:
        """Seconds that the p99 may take."""
        return self.profile.unloaded_p99 + SLOWER


@dataclass(frozen=True)
class Run:
    """The figures of one run."""

    case: Case
    scenario: str
    missed: float
    """The share of seconds above the goal."""
    errors: float
    """The share of requests."""
    pod_hours: float

    @property
    def place(self) -> str:
        return f"{self.case.mix}, {self.case.nodes}"


def cases(threads: int = THREADS) -> list[Case]:
    """Every mix on every kind of node, in pods with so many threads."""
    found = []
    for name, mix in MIXES.items():
        profiles = {nodes: Profile(mix, cpus, threads) for nodes, cpus in NODES.items()}
        whole = profiles["nodes with room"].rate
        found += [Case(name, nodes, profile, whole) for nodes, profile in profiles.items()]
    return found


def run(rule: Rule, case: Case, scenario: Scenario, conditions: Conditions, seeds: Sequence[int]) -> Run:
    """Simulate, and keep the figures."""
    outcomes = [simulate(rule, scenario, case.profile, case.whole, conditions, seed) for seed in seeds]
    return Run(
        case,
        scenario.name,
        fmean(missed(outcome, scenario, case) for outcome in outcomes),
        fmean(outcome.error_share for outcome in outcomes),
        fmean(outcome.pod_seconds for outcome in outcomes) / 3600,
    )


def missed(outcome: Outcome, scenario: Scenario, case: Case) -> float:
    """The share of seconds, but for those right after a step, in which the p99 is above the goal."""
    counted = [
        p99 > case.goal
        for second, p99 in enumerate(outcome.p99)
        if not any(step <= second < step + GRACE for step in scenario.steps)
    ]
    return sum(counted) / len(counted)


def runs(rule: Rule, found: Sequence[Case], conditions: Conditions = USUAL, seeds: Sequence[int] = SEEDS) -> list[Run]:
    """A rule in all cases and scenarios."""
    return [run(rule, case, scenario, conditions, seeds) for case in found for scenario in SCENARIOS]


def best(results: dict[Rule, list[Run]]) -> Rule | None:
    """Of the rules that keep the goal in each run and need the fewest pod-hours, the one that misses it the least.

    Counters of time know a request once it has ended: while all threads hang, which no scenario has, they tell that
    nothing is going on. So rules that follow them are shown, but do not win. By KEDA a rule is the same.
    """
    keeping = {
        rule: found
        for rule, found in results.items()
        if rule.metric != "counters"
        and not rule.keda
        and rule.window >= LEAST_WINDOW
        and max(each.missed for each in found) <= KEPT
    }
    fewest = min(map(pod_hours, keeping.values()), default=0.0)
    equal = [rule for rule, found in keeping.items() if pod_hours(found) <= fewest * (1 + EQUAL)]
    return min(equal, key=lambda rule: sum(each.missed for each in keeping[rule]), default=None)


def pod_hours(found: Iterable[Run]) -> float:
    return sum(each.pod_hours for each in found)


def table(results: dict[str, list[Run]]) -> str:
    """A row for each rule: all runs together."""
    columns = ("rule", "above the goal, worst run", "on average", "errors, worst run", "on average", "pod-hours")
    return plain_table(columns, [(name, *_cells(found)) for name, found in results.items()])


def by_case(results: dict[str, list[Run]], part: Callable[[Run], str]) -> str:
    """A row for each part of the runs: for each rule the share above the goal, errors, pod-hours."""
    columns = ["", *(f"{name}: {word}" for name in results for word in ("above the goal", "errors", "pod-hours"))]
    rows = []
    for wanted in dict.fromkeys(part(each) for each in next(iter(results.values()))):
        cells = [wanted]
        for found in results.values():
            _, missed, _, errors, hours = _cells([each for each in found if part(each) == wanted])
            cells += [missed, errors, hours]
        rows.append(cells)
    return plain_table(columns, rows)


def _cells(found: Sequence[Run]) -> tuple[str, ...]:
    cells = []
    for shares in ([each.missed for each in found], [each.errors for each in found]):
        cells += [f"{max(shares):.1%}", f"{sum(shares) / len(shares):.2%}"]
    return (*cells, f"{pod_hours(found):,.1f}")
