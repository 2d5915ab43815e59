"""Measure how often a report is right: false winners, power, intervals, flags, by simulation.

Every figure comes from the functions that a report uses, on noise of a known truth.

    python tools/measure_claims.py           # all scenarios, some minutes on one core
    python tools/measure_claims.py --short   # fewer repetitions, seconds

Prints the tables of docs/statistics.md. Exits with 1 where a figure is beyond its limit by more
than three standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from benchharness.measure.sequential import (
    FEWEST,
    MARGIN,
    MAX_TRIALS,
    confidence,
    looks,
    rule_for,
)
from benchharness.measure.statistics import (
    Ratio,
    excessive_scatter,
    mean_ratio,
    paired_ratio,
    unpaired_ratio,
)
from benchharness.report.notes import STEADY, UNSTABLE_LEVEL
from benchharness.report.rows import rows_of
from benchharness.report.summary import answers_of

AUTO = "auto"
Trials = int | str
# Logarithms of speeds, a row per trial in running order and a column per backend.
Speeds = np.ndarray
Noise = Callable[[np.random.Generator, int, int, float], Speeds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of a table.

    Attributes:
        conditions: Text of the columns before the figure.
        measure: Gives the outcome of one repetition: whether the event was seen, or a number.
        repetitions: Of a full run.
        at_least: Limit of the mean outcome; None for none.
        at_most: Likewise.
        is_share: Whether outcomes are yes or no.
    """

    conditions: tuple[str, ...]
    measure: Callable[[np.random.Generator], float]
    repetitions: int
    at_least: float | None = None
    at_most: float | None = None
    is_share: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Scenarios about one claim."""

    title: str
    headings: tuple[str, ...]
    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Mean outcome of a scenario, with its standard deviation, over so many repetitions."""

    scenario: Scenario
    mean: float
    deviation: float
    repetitions: int

    @property
    def is_kept(self) -> bool:
        """Whether the limits are kept, within three standard errors."""
        low, high = self.scenario.at_least, self.scenario.at_most
        return (low is None or low - 3 * self._error(low) <= self.mean) and (
            high is None or self.mean <= high + 3 * self._error(high)
        )

    @property
    def text(self) -> str:
        """The figure as a table shows it."""
        return f"{100 * self.mean:.1f} %" if self.scenario.is_share else f"{self.mean:.2f}"

    def _error(self, limit: float) -> float:
        """Return the standard error where the limit is the truth."""
        spread = math.sqrt(limit * (1 - limit)) if self.scenario.is_share else self.deviation
        return spread / math.sqrt(self.repetitions)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a tenth of the repetitions")
    arguments = parser.parse_args()
    is_kept = True
    for table in tables():
        print(f"\n**{table.title}**\n\n{row(table.headings)}\n{row(['---'] * len(table.headings))}")
        for figure in figures(table, share=0.1 if arguments.short else 1.0):
            is_kept &= figure.is_kept
            beyond = "" if figure.is_kept else " (beyond the limit)"
            print(row([*figure.scenario.conditions, figure.text + beyond]), flush=True)
    return 0 if is_kept else 1


def figures(table: Table, *, share: float = 1.0) -> Iterator[Figure]:
    """Yield the figures of a table, with a share of the repetitions."""
    for scenario in table.scenarios:
        name = f"{table.title} {scenario.conditions}"
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        repetitions = math.ceil(share * scenario.repetitions)
        outcomes = np.array([float(scenario.measure(rng)) for _ in range(repetitions)])
        yield Figure(
            scenario=scenario,
            mean=float(outcomes.mean()),
            deviation=float(outcomes.std()),
            repetitions=len(outcomes),
        )


def row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def percent(share: float) -> str:
    """Return a share as a table shows it."""
    return f"{100 * share:g} %"


def normal(rng: np.random.Generator, trials: int, backends: int, scatter: float) -> Speeds:
    """Return independent normal noise of the logarithm."""
    return scatter * rng.standard_normal((trials, backends))


def lognormal(rng: np.random.Generator, trials: int, backends: int, scatter: float) -> Speeds:
    """Return times with a long tail to the slow side: skewness 3.7."""
    times = np.exp(0.8 * rng.standard_normal((trials, backends)))
    return -scatter * (times - math.exp(0.32)) / math.sqrt(math.exp(1.28) - math.exp(0.64))


def heavy(rng: np.random.Generator, trials: int, backends: int, scatter: float) -> Speeds:
    """Student's t with three degrees of freedom."""
    return scatter / math.sqrt(3) * rng.standard_t(3, (trials, backends))


def bursts(rng: np.random.Generator, trials: int, backends: int, scatter: float) -> Speeds:
    """Return normal noise; one trial of ten is slower by five times its scatter."""
    is_hit = rng.random((trials, backends)) < 0.1
    return normal(rng, trials, backends, scatter) - 5 * scatter * is_hit


def drift(rng: np.random.Generator, trials: int, backends: int, scatter: float) -> Speeds:
    """Return normal noise of a machine that loses half its scatter from trial to trial."""
    order = np.arange(trials * backends).reshape(trials, backends)
    order[1::2] = order[1::2, ::-1]
    return normal(rng, trials, backends, scatter) - scatter * order / 2


def two_speeds(rng: np.random.Generator, trials: int, backends: int, scatter: float) -> Speeds:
    """Return a machine of two speeds, 25 % apart, that changes after one trial in seven."""
    changes = rng.random((trials, backends)) < 1 / 7
    is_slow = np.cumsum(changes.ravel()).reshape(trials, backends) % 2
    is_slow[1::2] = is_slow[1::2, ::-1]
    return normal(rng, trials, backends, scatter) - 0.25 * is_slow


NOISES: dict[str, Noise] = {
    "normal": normal,
    "lognormal": lognormal,
    "heavy tails": heavy,
    "bursts": bursts,
    "drift": drift,
    "two speeds": two_speeds,
}


def size_of(backends: int, benchmarks: int) -> int:
    """Return the size of the family of a report, as ``family_size`` counts it."""
    return math.comb(backends, 2) * (benchmarks + (benchmarks > 1))


def trials_of(speeds: Speeds, trials: Trials, *, comparisons: int) -> int:
    """Return after how many trials a benchmark ends: when the leader and each other are decided."""
    if isinstance(trials, int):
        return trials
    for count in range(FEWEST, MAX_TRIALS):
        own = speeds[:count]
        fastest = int(np.median(own, axis=0).argmax())
        others = [backend for backend in range(speeds.shape[1]) if backend != fastest]
        ratios = [paired_ratio(list(own[:, fastest] - own[:, other])) for other in others]
        rule = rule_for(ratios, comparisons=comparisons)
        if all(rule.verdict(ratio) != "open" for ratio in ratios):
            return count
    return MAX_TRIALS


def claims_of(benchmarks: Sequence[Speeds], trials: Trials) -> Iterator[tuple[str, Ratio]]:
    """Yield verdict and ratio of each comparison that a report prints, and its overall answer."""
    backends = benchmarks[0].shape[1]
    comparisons = size_of(backends, len(benchmarks))
    ran = [
        speeds[: trials_of(speeds, trials, comparisons=comparisons)].copy() for speeds in benchmarks
    ]
    pairs = list(combinations(range(backends), 2))
    lines = [
        {
            (first, second): paired_ratio(list(own[:, first] - own[:, second]))
            for first, second in pairs
        }
        for own in ran
    ]
    if len(lines) > 1:
        lines.append({pair: mean_ratio([line[pair] for line in lines]) for pair in pairs})
    ratios = [ratio for line in lines for ratio in line.values()]
    rule = rule_for(ratios, comparisons=comparisons)
    leaders = [int(np.median(own, axis=0).argmax()) for own in ran]
    leaders.append(int(np.mean([np.median(own, axis=0) for own in ran], axis=0).argmax()))
    for line, leader in zip(lines, leaders, strict=False):
        for pair, ratio in line.items():
            if leader in pair:
                yield rule.verdict(ratio), ratio


def names_winner(
    rng: np.random.Generator,
    *,
    noise: Noise,
    backends: int,
    benchmarks: int,
    trials: Trials,
    scatter: float = 0.05,
) -> bool:
    """Whether a report of equal backends names any winner."""
    speeds = [noise(rng, MAX_TRIALS, backends, scatter) for _ in range(benchmarks)]
    return any(verdict in ("faster", "slower") for verdict, _ in claims_of(speeds, trials))


def series(
    rng: np.random.Generator,
    *,
    effect: float,
    scatter: float,
    trials: Trials,
    comparisons: int,
    noise: Noise = normal,
) -> list[float]:
    """Return the paired logarithms of one comparison, as many as its run has made."""
    speeds = noise(rng, MAX_TRIALS, 2, scatter) + np.array([math.log1p(effect), 0.0])
    speeds = speeds[: trials_of(speeds, trials, comparisons=comparisons)]
    return list(speeds[:, 0] - speeds[:, 1])


def finds(rng: np.random.Generator, *, comparisons: int, **conditions: Any) -> bool:
    """Whether the faster of two backends is named."""
    logs = series(rng, comparisons=comparisons, **conditions)
    return looks([logs], comparisons=comparisons)[0].verdict == "faster"


def counts(rng: np.random.Generator, **conditions: Any) -> int:
    """Return how many trials a comparison took."""
    return len(series(rng, **conditions))


def calls_equal(rng: np.random.Generator, *, comparisons: int, **conditions: Any) -> bool:
    """Whether two backends are called equal."""
    logs = series(rng, comparisons=comparisons, **conditions)
    return looks([logs], comparisons=comparisons)[0].verdict == "equal"


def shows_detectable(rng: np.random.Generator, *, trials: int, comparisons: int) -> bool:
    """Whether new trials show the difference that a first series calls detectable."""
    first = paired_ratio(list(rng.normal(0.0, 0.05, trials)))
    rule = rule_for([], comparisons=comparisons)
    second = rng.normal(math.log(rule.detectable(first)), 0.05, trials)
    return rule.verdict(paired_ratio(list(second))) == "faster"


def covers(rng: np.random.Generator, *, effect: float, **conditions: Any) -> bool:
    """Whether the printed interval of a comparison holds the truth."""
    logs = series(rng, effect=effect, **conditions)
    most = MAX_TRIALS if conditions["trials"] == AUTO else None
    level = confidence(len(logs), max_trials=most, comparisons=conditions["comparisons"])
    return _holds(replace(paired_ratio(logs), confidence=level), effect)


def covers_overall(
    rng: np.random.Generator, *, effect: float, trials: Trials, scatters: Sequence[float]
) -> bool:
    """Whether the interval of the overall answer holds the truth, benchmarks of uneven scatter."""
    comparisons = size_of(2, len(scatters))
    ratios = [
        paired_ratio(
            series(rng, effect=effect, scatter=scatter, trials=trials, comparisons=comparisons)
        )
        for scatter in scatters
    ]
    mean = mean_ratio(ratios)
    level = confidence(mean.trials, max_trials=MAX_TRIALS if trials == AUTO else None)
    return _holds(replace(mean, confidence=level), effect)


def covers_leader(rng: np.random.Generator, *, backends: int, step: float) -> float:
    """Return the share of a line's intervals, of the leader and each other, that hold the truth."""
    effects = step * np.arange(backends)
    speeds = normal(rng, 5, backends, 0.05) + effects
    leader = int(np.median(speeds, axis=0).argmax())
    held = [
        _holds(
            paired_ratio(list(speeds[:, leader] - speeds[:, other])),
            math.expm1(effects[leader] - effects[other]),
        )
        for other in range(backends)
        if other != leader
    ]
    return sum(held) / len(held)


def covers_unpaired(rng: np.random.Generator, *, trials: int) -> bool:
    """Whether Welch's interval holds the truth where one side scatters three times as much."""
    a, b = rng.normal(0.0, 0.02, trials), rng.normal(0.0, 0.06, trials)
    return _holds(unpaired_ratio(list(a), list(b)), 0.0)


def on_hosts(
    rng: np.random.Generator, *, hosts: int, pairs: tuple[int, int], differ: float
) -> tuple[list[float], list[str], float]:
    """Return the paired logarithms of several hosts in turn, the host of each, and the hosts' mean.

    On average over all such hosts the backends are equal.

    Args:
        pairs: Of a host, the fewest and the most.
        differ: Standard deviation of the hosts' ratios.
    """
    effects = differ * rng.standard_normal(hosts)
    counts = rng.integers(pairs[0], pairs[1] + 1, hosts)
    ran = [host for turn in range(pairs[1]) for host in range(hosts) if turn < counts[host]]
    speeds = normal(rng, len(ran), 2, 0.05)
    logs = effects[ran] + speeds[:, 0] - speeds[:, 1]
    return list(logs), list(map(str, ran)), float(effects.mean())


def covers_hosts(rng: np.random.Generator, *, is_of_these: bool, **conditions: Any) -> bool:
    """Whether an interval over hosts holds the ratio of these hosts, or of all such hosts."""
    logs, hosts, mean = on_hosts(rng, **conditions)
    return _holds(paired_ratio(logs, hosts), math.expm1(mean) if is_of_these else 0.0)


def names_winner_on_hosts(rng: np.random.Generator, *, trials: Trials, **conditions: Any) -> bool:
    """Whether a comparison over hosts names a winner, of backends equal on average over hosts."""
    logs, hosts, _ = on_hosts(rng, **conditions)
    for count in range(FEWEST, MAX_TRIALS + 1) if trials == AUTO else [len(logs)]:
        most = MAX_TRIALS if trials == AUTO else None
        level = confidence(count, max_trials=most, comparisons=1)
        ratio = replace(paired_ratio(logs[:count], hosts[:count]), confidence=level)
        verdict = rule_for([ratio], comparisons=1).verdict(ratio)
        if verdict != "open":
            return verdict != "equal"
    return False


def flags_unstable(
    rng: np.random.Generator, *, noise: Noise, scatter: float, trials: int, cells: int
) -> bool:
    """Whether a report calls any of its cells unstable."""
    rates = np.exp(noise(rng, trials, cells, scatter))
    return any(
        excessive_scatter(list(own), limit=STEADY, level=UNSTABLE_LEVEL / cells) is not None
        for own in rates.T
    )


def names_winner_in_records(
    rng: np.random.Generator, *, noise: Noise, trials: int, benchmarks: int, is_far: bool = False
) -> bool:
    """Whether the answers of a whole report of equal backends name a winner, from its records.

    Args:
        is_far: The second backend was run again an hour later, on a machine that had become 5 %
            slower.
    """
    records, clock = [], datetime(2026, 1, 1, tzinfo=UTC)
    for benchmark in range(benchmarks):
        speeds = noise(rng, trials, 2, 0.05)
        for trial in range(trials):
            for backend in (0, 1) if trial % 2 == 0 else (1, 0):
                clock += timedelta(seconds=11)
                is_late = is_far and backend == 1
                rate = 100 * math.exp(speeds[trial, backend] - 0.05 * is_late)
                started = clock + timedelta(hours=1) * is_late
                records.append(_record(f"benchmark_{benchmark}", backend, trial, rate, started))
    return any(" faster than " in answer for answer in answers_of(rows_of(records, "ab")))


def _record(
    benchmark: str, backend: int, trial: int, rate: float, started: datetime
) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "strategy": "simple_cnn",
        "backend": "ab"[backend],
        "track": "equal",
        "matrix": {},
        "trial": trial + 1,
        "status": "ok",
        "settings": {},
        "proof": "proven",
        "proofs": {"ba"[backend]: "proven"},
        "metrics": {"train_images_per_s": rate, "wall_s": 10.0},
        "started": started.isoformat(),
    }


def _holds(ratio: Ratio, effect: float) -> bool:
    return ratio.low <= 1 + effect <= ratio.high


def tables() -> list[Table]:
    """Return all tables; what a further claim of the reports needs is a table of its own here."""
    return [_winners(), _records(), _power(), _equality(), _coverage(), *_hosts(), _unstable()]


def _winners() -> Table:
    kinds: list[tuple[str, int, int, Trials, int]] = [
        *((name, 2, 4, AUTO, 2000) for name in NOISES),
        *((name, 3, 4, AUTO, 1000) for name in NOISES),
        *(("normal", 2, 1, trials, 4000) for trials in (2, 3, 5, 10)),
        ("normal", 2, 1, AUTO, 20_000),
        *(("normal", 2, 4, trials, 2000) for trials in (3, 5, 10)),
        ("normal", 7, 1, AUTO, 500),
        ("normal", 7, 8, 5, 200),
        ("normal", 2, 8, AUTO, 1000),
        ("heavy tails", 7, 1, AUTO, 500),
    ]
    return Table(
        title="A report of equal backends names a winner: at most 5 %",
        headings=("noise", "backends", "benchmarks", "trials", "reports with a false winner"),
        scenarios=tuple(
            Scenario(
                conditions=(name, str(backends), str(benchmarks), str(trials)),
                measure=partial(
                    names_winner,
                    noise=NOISES[name],
                    backends=backends,
                    benchmarks=benchmarks,
                    trials=trials,
                ),
                repetitions=repetitions,
                at_most=0.05,
            )
            for name, backends, benchmarks, trials, repetitions in kinds
        ),
    )


def _records() -> Table:
    kinds = [("normal", 5, False), ("drift", 5, False), ("normal", 5, True), ("drift", 10, True)]
    return Table(
        title="The same from records, through the whole report: at most 5 %",
        headings=("noise", "trials", "sides", "reports with a false winner"),
        scenarios=tuple(
            Scenario(
                conditions=(name, str(trials), "an hour apart" if is_far else "in turns"),
                measure=partial(
                    names_winner_in_records,
                    noise=NOISES[name],
                    trials=trials,
                    benchmarks=3,
                    is_far=is_far,
                ),
                repetitions=600,
                at_most=0.05,
            )
            for name, trials, is_far in kinds
        ),
    )


def _power() -> Table:
    scenarios = []
    for effect, scatter, comparisons, at_least, most in (
        (0.10, 0.05, 1, 0.90, 7.0),
        (0.10, 0.03, 5, 0.90, 7.0),
        (0.10, 0.05, 5, None, None),
        (0.20, 0.05, 5, 0.90, 7.0),
        (0.05, 0.02, 5, None, None),
    ):
        conditions: dict[str, Any] = {
            "effect": effect,
            "scatter": scatter,
            "trials": AUTO,
            "comparisons": comparisons,
        }
        said = (percent(effect), percent(scatter), str(comparisons), AUTO)
        scenarios += [
            Scenario(
                conditions=(*said, "named"),
                measure=partial(finds, **conditions),
                repetitions=4000,
                at_least=at_least,
            ),
            Scenario(
                conditions=(*said, "mean trials"),
                measure=partial(counts, **conditions),
                repetitions=1000,
                at_most=most,
                is_share=False,
            ),
        ]
    scenarios += [
        Scenario(
            conditions=("the detectable one", "5 %", str(comparisons), str(trials), "named"),
            measure=partial(shows_detectable, trials=trials, comparisons=comparisons),
            repetitions=4000,
            at_least=0.77,
            at_most=0.83,
        )
        for trials in (3, 5, 10)
        for comparisons in (1, 5)
    ]
    return Table(
        title="A true difference is named: at least 90 % of 10 % at 5 % scatter, in 7 trials on "
        "average, where it is the only comparison",
        headings=("difference", "scatter of a trial", "comparisons", "trials", "what", "measured"),
        scenarios=tuple(scenarios),
    )


def _equality() -> Table:
    kinds = [
        (MARGIN, 0.01, 1, None, 0.05),
        (MARGIN, 0.02, 1, None, 0.05),
        (MARGIN, 0.02, 5, None, 0.05),
        (0.0, 0.01, 1, 0.9, None),
        (0.0, 0.01, 5, 0.9, None),
        (0.0, 0.02, 5, None, None),
    ]
    return Table(
        title="Two backends are called equal: at most 5 % where they are 3 % apart",
        headings=("difference", "scatter of a trial", "comparisons", "trials", "called equal"),
        scenarios=tuple(
            Scenario(
                conditions=(percent(effect), percent(scatter), str(comparisons), AUTO),
                measure=partial(
                    calls_equal,
                    effect=effect,
                    scatter=scatter,
                    comparisons=comparisons,
                    trials=AUTO,
                ),
                repetitions=2000,
                at_least=at_least,
                at_most=at_most,
            )
            for effect, scatter, comparisons, at_least, at_most in kinds
        ),
    )


def _coverage() -> Table:
    def scenario(*said: str, measure: Callable[..., bool], **conditions: Any) -> Scenario:
        return Scenario(
            conditions=said,
            measure=partial(measure, **conditions),
            repetitions=6000,
            at_least=0.94,
            at_most=0.96,
        )

    scenarios = [
        scenario(
            "one line",
            percent(effect),
            percent(scatter),
            str(comparisons),
            str(trials),
            measure=covers,
            effect=effect,
            scatter=scatter,
            trials=trials,
            comparisons=comparisons,
        )
        for trials, comparisons, effect, scatter in (
            (3, 5, 0.0, 0.05),
            (5, 5, 0.1, 0.05),
            (10, 5, 0.1, 0.05),
            *((AUTO, 1, effect, 0.05) for effect in (0.0, 0.05, 0.1, 0.2)),
            *((AUTO, 5, effect, 0.05) for effect in (0.0, 0.05, 0.1, 0.2)),
            *((AUTO, 5, effect, 0.01) for effect in (0.0, 0.02, 0.05)),
            *((AUTO, 40, effect, 0.03) for effect in (0.0, 0.1)),
        )
    ]
    scenarios += [
        scenario(
            f"overall, {len(scatters)} benchmarks",
            percent(effect),
            f"{percent(min(scatters))} to {percent(max(scatters))}",
            str(size_of(2, len(scatters))),
            str(trials),
            measure=covers_overall,
            effect=effect,
            trials=trials,
            scatters=scatters,
        )
        for scatters in ((0.02, 0.06), (0.02, 0.05, 0.05, 0.10))
        for effect, trials in ((0.0, 3), (0.1, 5), (0.1, 10), (0.0, AUTO), (0.1, AUTO))
    ]
    scenarios += [
        scenario(
            "sides apart", "0 %", "2 % and 6 %", "-", str(trials), measure=covers_unpaired,
            trials=trials,
        )
        for trials in (3, 5, 10)
    ]  # fmt: skip
    scenarios += [
        Scenario(
            conditions=("one line", "0 %", f"5 %, {name}", "5", "5"),
            measure=partial(
                covers, effect=0.0, scatter=0.05, trials=5, comparisons=5, noise=NOISES[name]
            ),
            repetitions=6000,
        )
        for name in NOISES
        if name != "normal"
    ]
    scenarios += [
        Scenario(
            conditions=(f"leader of {backends} backends", percent(step), "5 %", "-", "5"),
            measure=partial(covers_leader, backends=backends, step=step),
            repetitions=3000,
            at_least=0.94 if step else None,
            at_most=0.96 if step else None,
        )
        for backends in (3, 7)
        for step in (0.0, 0.05)
    ]
    return Table(
        title="A 95 % interval holds the truth: 94 to 96 % where noise is independent and normal",
        headings=("interval", "difference", "scatter", "comparisons", "trials", "held"),
        scenarios=tuple(scenarios),
    )


def _hosts() -> list[Table]:
    def said(hosts: int, pairs: tuple[int, int], differ: float) -> tuple[str, ...]:
        return str(hosts), " to ".join(map(str, dict.fromkeys(pairs))), percent(differ)

    kinds = [
        *((hosts, (3, 10), differ) for hosts in (2, 3, 4, 5) for differ in (0.0, 0.03, 0.1)),
        *((hosts, (pairs, pairs), 0.05) for hosts in (2, 5) for pairs in (3, 10)),
        (5, (1, 1), 0.05),
        (5, (1, 2), 0.05),
    ]
    truths = {"of all such hosts": False, "of these hosts": True}
    coverage = Table(
        title="A 95 % interval over several hosts holds the truth: at least 94 %",
        headings=("hosts", "pairs of each", "ratios differ by", "truth", "held"),
        scenarios=tuple(
            Scenario(
                conditions=(*said(hosts, pairs, differ), truth),
                measure=partial(
                    covers_hosts, hosts=hosts, pairs=pairs, differ=differ, is_of_these=is_of_these
                ),
                repetitions=4000,
                at_least=0.94,
            )
            for truth, is_of_these in truths.items()
            for hosts, pairs, differ in kinds
            if differ or not is_of_these
        ),
    )
    looked: list[tuple[int, tuple[int, int], float, Trials]] = [
        *((hosts, (3, 10), differ, "all") for hosts in (2, 5) for differ in (0.0, 0.03, 0.1)),
        *((hosts, (10, 10), differ, AUTO) for hosts in (2, 3, 5) for differ in (0.0, 0.03, 0.1)),
    ]
    winners = Table(
        title="Equal backends on several hosts: a winner in 5 %, in 7 % if equal on average only",
        headings=("hosts", "pairs of each", "ratios differ by", "trials", "false winners"),
        scenarios=tuple(
            Scenario(
                conditions=(*said(hosts, pairs, differ), str(trials)),
                measure=partial(
                    names_winner_on_hosts, hosts=hosts, pairs=pairs, differ=differ, trials=trials
                ),
                repetitions=2000,
                at_most=0.07 if differ else 0.05,
            )
            for hosts, pairs, differ, trials in looked
        ),
    )
    return [coverage, winners]


def _unstable() -> Table:
    kinds = [
        *(("normal", 0.03, trials, 0.05) for trials in (3, 5, 10)),
        *(("normal", 0.05, trials, 0.05) for trials in (2, 3, 5, 10)),
        *((name, 0.03, 10, None) for name in ("lognormal", "heavy tails")),
        *((name, 0.02, 10, None) for name in ("bursts", "two speeds")),
        *(("normal", 0.15, trials, None) for trials in (3, 10)),
    ]
    return Table(
        title="A report of eight cells calls one unstable: at most 5 % up to 5 % scatter",
        headings=("noise", "scatter", "trials", "reports that flag a cell"),
        scenarios=tuple(
            Scenario(
                conditions=(name, percent(scatter), str(trials)),
                measure=partial(
                    flags_unstable, noise=NOISES[name], scatter=scatter, trials=trials, cells=8
                ),
                repetitions=6000,
                at_most=at_most,
            )
            for name, scatter, trials, at_most in kinds
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
