"""The simulation of an autoscaler: its parts on cases with known results; no server runs here."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.autoscale import __main__ as program
from benchmarks.autoscale.arrivals import SCENARIOS, SHOWN, Scenario
from benchmarks.autoscale.comparison import KEPT, Case, Run, best, by_case, missed, table
from benchmarks.autoscale.figures import charts
from benchmarks.autoscale.hpa import Autoscaler, Behavior, Policy, Sample, desired, desired_by_total
from benchmarks.autoscale.measured import MIXES, THREADS, Request
from benchmarks.autoscale.profile import Profile, poisson, serve
from benchmarks.autoscale.rules import CPU, RECOMMENDED, RULES, SLOWLY
from benchmarks.autoscale.simulation import MAXIMUM, MINIMUM, Outcome, simulate
from benchmarks.plot import svg
from twistserve.kubernetes import scaling

PAGE = Request(cpu=0.004)
ASKS = Request(cpu=0.002, wait=0.2)


@pytest.fixture(scope="module")
def profile() -> Profile:
    """A pod that serves pages of 4 ms."""
    return Profile([PAGE])


def samples(*values: float | None) -> list[Sample]:
    return [Sample(value) for value in values]


class TestAlgorithm:
    """The documentation's own examples, and what its source says where that is silent."""

    @pytest.mark.parametrize(
        ("values", "number"),
        [
            ((2.0, 2.0), 4),  # "if the current metric value is 200m, and the desired value is 100m": doubled
            ((0.5, 0.5), 1),  # "if the current value is instead 50m": halved
            ((1.1, 1.1), 2),  # within the tolerance
            ((0.9, 0.9), 2),
            ((1.11, 1.11), 3),
            ((1.5,) * 3, 5),  # 4.5
        ],
    )
    def test_the_number_is_in_proportion_to_the_metric(self, values: tuple[float, ...], number: int) -> None:
        assert desired(samples(*values), len(values)) == number

    def test_a_pod_without_metric_dampens_what_is_done(self) -> None:
        """It counts as idle when there are to be more pods, as at the target when there are to be fewer."""
        assert desired(samples(2.0, 2.0, None, None), 4) == 4
        assert desired(samples(4.0, 4.0, None, None), 4) == 8
        assert desired(samples(0.5, 0.5, None, None), 4) == 3
        assert desired(samples(0.5, 0.5, None, None), 4, fallback=1 / 0.7) == 4

    def test_a_pod_that_starts_counts_as_idle_only_when_there_are_to_be_more(self) -> None:
        starting = [Sample(9.0, unready=True)]
        assert desired([*samples(3.0, 3.0), *starting], 3) == 6
        assert desired([*samples(0.4, 0.4), *starting], 3) == 1

    def test_nothing_is_done_where_nothing_is_known(self) -> None:
        assert desired(samples(None, None), 2) == 2
        assert desired([Sample(3.0, unready=True)] * 3, 3) == 3

    def test_a_total_is_divided_by_the_target(self) -> None:
        assert desired_by_total(7.2, 4) == 8
        assert desired_by_total(4.4, 4) == 4

    def test_it_may_double_or_add_four_in_15_seconds(self) -> None:
        """Whichever is more, by default."""
        scaler = Autoscaler(1, 100)
        numbers = [1]
        for number in range(5):
            numbers.append(scaler.decide(number * 15.0, 1000, numbers[-1]))
        assert numbers == [1, 5, 10, 20, 40, 80]
        assert scaler.decide(75.0, 1000, 80) == 100

    def test_the_example_of_the_documentation_for_scaling_down(self) -> None:
        """80 pods, 10 % or 4 pods a minute: "10% of 72 is 7.2 but the number is rounded up to 8"."""
        down = (Policy(period=60, percent=10), Policy(period=60, pods=4))
        scaler = Autoscaler(1, 100, Behavior(down=down, down_stabilization=0))
        numbers = [80]
        for minute in range(3):
            numbers.append(scaler.decide(minute * 60.0, 10, numbers[-1]))
        assert numbers == [80, 72, 64, 57]
        assert scaler.decide(180.0, 10, 30) == 26
        assert scaler.decide(195.0, 10, 26) == 26

    def test_it_follows_the_highest_of_the_last_five_minutes_down(self) -> None:
        scaler = Autoscaler(1, 100)
        assert scaler.decide(0.0, 10, 10) == 10
        assert scaler.decide(15.0, 4, 10) == 10
        assert scaler.decide(285.0, 3, 10) == 10
        assert scaler.decide(315.0, 2, 10) == 3

    def test_bounds(self) -> None:
        scaler = Autoscaler(2, 5)
        assert scaler.decide(0.0, 50, 4) == 5
        assert scaler.decide(1000.0, 0, 5) == 2


class TestPod:
    def test_every_request_is_served_once(self) -> None:
        """None is lost and none is served twice, whatever the load."""
        chance = random.Random(1)
        for rate in (10, 200, 1000):
            served = serve(poisson(rate, 2000, chance), [PAGE, ASKS], chance)
            assert len(served.responses) == len(served.found) == 2000
            assert min(served.responses) == pytest.approx(PAGE.cpu)

    def test_the_greatest_rate(self) -> None:
        """By the CPU where requests compute; by the threads where they wait; half the CPU makes computing slower."""
        assert Profile([PAGE]).rate == pytest.approx(1 / PAGE.cpu, rel=0.01)
        assert Profile([PAGE], cpus=0.5).rate == pytest.approx(0.5 / PAGE.cpu, rel=0.01)
        assert Profile([ASKS]).rate == pytest.approx(THREADS / (ASKS.cpu + ASKS.wait), rel=0.05)

    @pytest.mark.parametrize("load", [0.5, 0.8])
    def test_the_wait_for_a_cpu_is_the_known_one(self, load: float) -> None:
        """Pollaczek and Khinchine: load / (2 (1 - load)) services, for services of the same length (M/D/1)."""
        chance = random.Random(3)
        served = serve(poisson(load / PAGE.cpu, 60_000, chance), [PAGE], chance)
        mean = sum(served.responses) / len(served.responses)
        assert mean == pytest.approx(PAGE.cpu * (1 + load / (2 * (1 - load))), rel=0.05)

    def test_what_a_request_finds_is_what_is_there(self) -> None:
        """Little's law: requests in the pod are their rate times the time they stay."""
        profile = Profile([PAGE, ASKS])
        level = profile.level(0.5)
        assert level.found_mean == pytest.approx(0.5 * profile.rate * level.mean, rel=0.05)

    def test_more_load_is_slower(self, profile: Profile) -> None:
        p99s = [profile.level(load).p99 for load in (0.1, 0.5, 0.9)]
        assert p99s == sorted(p99s)
        assert profile.unloaded_p99 < 3 * PAGE.cpu


def steady(rate: float, seconds: int = 1200) -> Scenario:
    return Scenario("steady", "always the same", lambda now: rate, seconds)


class TestSimulation:
    @pytest.mark.parametrize("rule", [CPU, RECOMMENDED, replace(RECOMMENDED, metric="counters")])
    def test_a_steady_load_has_a_steady_number_of_pods(self, profile: Profile, rule: Any) -> None:
        """And no request is slow or lost once they are there."""
        outcome = simulate(rule, steady(8.0), profile, profile.rate)
        assert max(outcome.replicas[900:]) - min(outcome.replicas[900:]) <= 3
        assert 8 < outcome.replicas[-1] < MAXIMUM
        assert max(outcome.p99[600:]) < 0.1
        assert sum(outcome.errors[600:]) == 0

    def test_no_request_is_lost_unseen(self, profile: Profile) -> None:
        """Each is served, refused or given up, or waits at the end."""
        for scenario in SCENARIOS:
            outcome = simulate(RECOMMENDED, scenario, profile, profile.rate)
            assert outcome.requests == pytest.approx(outcome.served + sum(outcome.errors) + outcome.excess)

    def test_without_requests_there_are_as_few_pods_as_may_be(self, profile: Profile) -> None:
        outcome = simulate(RECOMMENDED, steady(0.01), profile, profile.rate)
        assert set(outcome.replicas) == {MINIMUM}
        assert outcome.pod_seconds == MINIMUM * 1200

    def test_cpu_does_not_see_that_threads_wait(self) -> None:
        """All threads are busy, and no pod comes; by the threads as many come as are needed."""
        asking = Profile([ASKS])
        by_cpu, by_threads = (simulate(rule, steady(4.0), asking, asking.rate) for rule in (CPU, RECOMMENDED))
        assert by_cpu.replicas[-1] == MINIMUM
        assert by_cpu.error_share > 0.4
        assert by_threads.replicas[-1] > 4
        assert sum(by_threads.errors[600:]) == 0

    def test_a_seed_gives_the_same_hour(self, profile: Profile) -> None:
        first, second = (simulate(RECOMMENDED, SHOWN, profile, profile.rate) for _ in range(2))
        assert first == second
        assert Profile([PAGE]).rate == profile.rate

    def test_as_many_pods_as_there_may_be(self, profile: Profile) -> None:
        outcome = simulate(RECOMMENDED, steady(500.0, 600), profile, profile.rate)
        assert max(outcome.replicas) == MAXIMUM
        assert outcome.p99[-1] == 10.0


class TestComparison:
    def test_the_rules_are_told_apart_by_their_names(self) -> None:
        assert len({rule.name for rule in RULES}) == len(RULES)
        assert {CPU, RECOMMENDED} <= set(RULES)

    def test_the_recommended_rule_is_the_one_that_is_printed(self) -> None:
        """By `manage.py kubernetes --scale-by threads` and in deploy/prometheus/adapter.yaml."""
        assert RECOMMENDED.target == scaling.TARGET
        assert RECOMMENDED.most == scaling.MOST
        assert f"{RECOMMENDED.window // 60}m" == scaling.WINDOW
        [policy] = scaling.BEHAVIOR["scaleDown"]["policies"]
        assert RECOMMENDED.pace == SLOWLY
        assert RECOMMENDED.behavior == Behavior(down=(Policy(policy["periodSeconds"], percent=policy["value"]),))

    def test_the_seconds_after_a_step_do_not_count(self, profile: Profile) -> None:
        case = Case("pages", "full nodes", profile, profile.rate)
        outcome = Outcome(p99=[9.0] * 60 + [0.0] * 30 + [9.0] * 10)
        assert missed(outcome, Scenario("step", "", lambda now: 1, 100, steps=(0,)), case) == 0.25

    def test_the_fewest_pod_hours_of_those_that_keep_the_goal_win(self, profile: Profile) -> None:
        case = Case("pages", "full nodes", profile, profile.rate)

        def run(missed: float, hours: float) -> Run:
            return Run(case, "wave", missed, 0.01, hours)

        first, second, third = RULES[:3]
        results = {first: [run(0, 30)], second: [run(KEPT, 20)], third: [run(KEPT + 0.001, 10)]}
        assert best(results) is second
        assert best({third: results[third]}) is None
        equal = replace(second, target=0.9)
        assert best({**results, equal: [run(KEPT / 2, 20.3)]}) is equal
        assert best({**results, equal: [run(KEPT / 2, 20.5)]}) is second
        for unfit in (replace(second, metric="counters"), replace(second, window=30), replace(second, keda=True)):
            assert best({unfit: results[second]}) is None
        rows = table({"a": [run(0.5, 30), run(0.25, 20)]}).splitlines()
        assert rows[-1] == "| a | 50.0% | 37.50% | 1.0% | 1.00% | 50.0 |"
        rows = by_case({"a": [run(0.5, 30), run(0.25, 20)]}, lambda one: one.place).splitlines()
        assert rows[2:] == ["| pages, full nodes | 37.50% | 1.00% | 50.0 |"]

    def test_the_plots_show_cases_that_there_are(self) -> None:
        assert {mix for mix, _ in program.PLOTS.values()} <= set(MIXES)

    def test_a_plot_has_four_charts_of_the_same_rules(self, profile: Profile) -> None:
        case = Case("pages", "full nodes", profile, profile.rate)
        outcomes = {rule.name: simulate(rule, steady(3.0, 600), profile, profile.rate) for rule in (CPU, RECOMMENDED)}
        found = charts(outcomes, case)
        assert [list(chart.series) for chart in found] == [[CPU.name, RECOMMENDED.name]] * 4
        assert [label for label in found[0].labels if label] == ["0"]
        assert "CPU 70%" in svg(found)
