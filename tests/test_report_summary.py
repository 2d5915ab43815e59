"""The answer comes first, and claims no more than proof and chance allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from results_records import record

from benchharness.measure.accuracy import packed
from benchharness.report.markdown import markdown
from benchharness.report.pairs import pairs_of
from benchharness.report.rows import backends_of, rows_of
from benchharness.report.summary import answers_in, answers_of
from benchharness.report.table import plain_text

FASTER = (117.0, 118.0, 119.5)
EQUAL = (98.0, 102.0, 101.0)
BASE = (100.0, 100.0, 100.0)
UNSURE = (92.0, 107.0, 101.0)
NEARLY_ALIKE = [100.0 + trial % 3 for trial in range(10)]
PARTIAL = "partial: logits (3e-3 over 1e-5)"
BUSY = {"foreign_cores": 1.2}
MARK = "(machine busy: unreliable; "
BOTH = ("keras", "torch")


def trials(
    torch: Sequence[float] = FASTER,
    keras: Sequence[float] = BASE,
    *,
    benchmark: str = "simple_cnn",
    proof: str = "proven",
    metric: str = "train_images_per_s",
    extra: dict[str, dict[str, Any]] | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Return the trials of both backends, ``extra`` metrics by backend."""
    others = {"keras": "torch", "torch": "keras"}
    return [
        record(
            benchmark,
            backend,
            trial=trial,
            metrics={metric: rate} | (extra or {}).get(backend, {}),
            **{"proof": proof, "proofs": {others[backend]: proof}} | changes,
        )
        for backend, rates in (("keras", keras), ("torch", torch))
        for trial, rate in enumerate(rates, start=1)
    ]


def timed(records: list[dict[str, Any]], late: int = 0) -> list[dict[str, Any]]:
    """Return trials in turns of both backends, a minute each, the last ones hours later."""
    for place, one in enumerate(records):
        turn = 2 * one["trial"] + (one["backend"] == "torch")
        hour = 15 if place >= len(records) - late else 10
        one["started"] = f"2026-11-23T{hour}:{turn:02}:00Z"
        one["metrics"] = one["metrics"] | {"wall_s": 59.0}
    return records


def with_change(records: list[dict[str, Any]], place: int, **changes: Any) -> list[dict[str, Any]]:
    """Return records of which one has other values, those of ``metrics`` added."""
    metrics = records[place]["metrics"] | changes.pop("metrics", {})
    records[place] = records[place] | changes | {"metrics": metrics}
    return records


def by_backend(keras: Any, torch: Any, **shared: Any) -> dict[str, dict[str, Any]]:
    """Return extra metrics of both backends."""
    return {"keras": shared | keras, "torch": shared | torch}


def answers(records: list[dict[str, Any]]) -> list[str]:
    """Return the answer lines of some records."""
    return answers_of(rows_of(records, backends_of({}, records)))


def says(records: Any, *fragments: str, never: Sequence[str] = (), id: str) -> Any:
    """Return a case of the test below."""
    return pytest.param(records, fragments, never, id=id)


@pytest.mark.parametrize(
    ("records", "fragments", "never"),
    [
        says(
            trials(),
            "simple_cnn: torch trains 1.18x faster than keras (95 % CI 1.15-1.2",
            ", 3 trials); same work: proven",
            id="a proven and certain difference has a winner, by the geometric mean",
        ),
        says(
            trials(torch=BASE, keras=FASTER),
            "simple_cnn: keras trains 1.18x faster than torch (95 % CI 1.15-1.2",
            id="the winner does not depend on the order of the backends",
        ),
        says(
            trials(UNSURE),
            "no difference shown between keras and torch in training throughput: 1.00x (95 % CI",
            ", 3 trials; minimum detectable difference 3.2x); same work",
            never=["faster"],
            id="an uncertain difference is none and tells what could be detected",
        ),
        says(
            trials([106.0, 109.0, 112.0]),
            "no winner between torch and keras in training throughput: 1.09x",
            "; 2 more trials would probably decide); same work: proven",
            id="more trials are named where they would probably decide",
        ),
        says(
            trials(NEARLY_ALIKE, [101.0] * 10),
            "torch are equal in training throughput, no more than 3 % apart: 1.00",
            never=["faster"],
            id="backends within the margin are equal",
        ),
        says(
            trials([200.0, 200.1], [100.0, 100.0]),
            "simple_cnn: no winner between torch and keras in training throughput: 2.00x (two "
            "trials: too few to say); same work: proven",
            id="two trials name no winner, not even where they agree to a hair",
        ),
        says(
            trials([118.0], [100.0]),
            "simple_cnn: no winner between torch and keras in training throughput: 1.18x (one "
            "trial: too few to say); same work: proven",
            id="one trial has no interval",
        ),
        *(
            says(
                trials(extra={side: BUSY}),
                "simple_cnn: no winner between torch and keras in training throughput: 1.18x "
                f"{MARK}95 % CI",
                "3 trials); same work: proven",
                never=["faster"],
                id=f"disturbed trials of {side} name no winner",
            )
            for side in BOTH
        ),
        says(
            trials((118.0,), [100.0], extra={"torch": BUSY}),
            "no winner between torch and keras in training throughput: 1.18x "
            f"{MARK}one trial: too few to say)",
            id="one disturbed trial says so",
        ),
        says(
            trials((118.0, 118.5), [100.0] * 2, extra={"torch": BUSY}),
            "no winner between torch and keras in training throughput: 1.18x "
            f"{MARK}two trials: too few to say)",
            id="two disturbed trials say so",
        ),
        says(
            with_change(trials([118.0, 118.2, 118.1, 118.4], [100.0] * 4), 0, metrics=BUSY),
            MARK,
            never=["faster"],
            id="one disturbed trial of many is enough",
        ),
        says(
            trials(NEARLY_ALIKE, [101.0] * 10, extra={"keras": BUSY}),
            MARK,
            "simple_cnn: no winner between",
            never=["equal in", "no difference shown"],
            id="disturbed backends are not called equal",
        ),
        says(
            trials(UNSURE, extra={"keras": BUSY}),
            MARK,
            "simple_cnn: no winner between",
            never=["equal in", "no difference shown"],
            id="disturbed backends hide no difference",
        ),
        says(
            trials(proof=PARTIAL, extra={"torch": BUSY}),
            f"ratio 1.18x, torch to keras {MARK}",
            id="disturbed trials say so beside a missing proof",
        ),
        says(
            timed(trials((120.0, 121.0, 122.0), (100.0, 101.0, 102.0), extra={"torch": BUSY}), 3),
            f"torch and keras in training throughput: 1.20x (the sides ran at different times; "
            f"{MARK[1:]}",
            id="disturbed trials say so beside another hour",
        ),
        says(
            trials([117.0, 118.0, 119.5, 118.5], [100.0] * 4),
            "1.18x faster than keras (95 % CI 1.17-1.20, 4 trials)",
            id="an interval of a fixed number of trials",
        ),
        says(
            trials([117.0, 118.0, 119.5, 118.5], [100.0] * 4, max_trials=10),
            "1.18x faster than keras (95 % CI 1.16-1.20, 4 trials)",
            id="an interval is wider where looks decided when to stop",
        ),
        says(
            timed(trials([120.0, 121.0, 122.0], [100.0, 101.0, 102.0]), 3),
            "simple_cnn: no winner between torch and keras in training throughput: 1.20x (the "
            "sides ran at different times; 95 % CI",
            "trials); same work: proven",
            id="sides that ran at different times have no winner",
        ),
        says(
            timed(trials([118.0, 118.2, 118.1, 300.0], [100.0] * 4), 1),
            "torch trains 1.18x faster than keras (95 % CI 1.18-1.18, 3 trials)",
            "; 1 trial of each side excluded, because they did not run next to each other",
            id="a trial that ran at another time is left out",
        ),
        *(
            says(
                trials(proof=proof),
                "ratio 1.18x, torch to keras (95 % CI",
                f"but {said}",
                never=["faster"],
                id=f"without proof nobody wins: {said}",
            )
            for proof, said in (
                (PARTIAL, f"same work: NOT PROVEN ({PARTIAL})"),
                ("not comparable: other data", "same work: NOT COMPARABLE (other data)"),
                ("", "same work: not requested"),
            )
        ),
        says(
            with_change(trials(), 1, proofs={"torch": "partial: batches (step 3)"}),
            "same work: NOT PROVEN (partial: batches (step 3))",
            id="one doubtful trial spoils the proof",
        ),
        says(
            trials(
                extra=by_backend(
                    {"time_to_top1_s": 8.0, "extract_images_per_s": 10.0},
                    {"time_to_top1_s": 4.0, "extract_images_per_s": 15.0},
                    extract_reused=False,
                ),
                strategy="bottleneck",
                settings={"target_top1": 0.95},
            ),
            "simple_cnn: torch reaches 0.95 validation top-1 2.00x sooner than ke",
            "; throughput of the head's training 1.18x (95 % CI",
            "; extraction before it 1.50x (",
            id="a target that all reach is what counts, throughput and extraction follow",
        ),
        says(
            trials(
                extra={"torch": {"extract_images_per_s": 9.0, "extract_reused": True}},
                strategy="bottleneck",
            ),
            "torch trains the head 1.18x faster",
            "; extraction not compared, stored features were read",
            id="reused features are not compared",
        ),
        says(
            with_change(
                trials(extra={"keras": {"time_to_top1_s": 8.0}}, settings={"target_top1": 0.95}),
                0,
                metrics={"time_to_top1_s": None},
            ),
            "torch trains 1.18x faster than keras",
            "top-1 reached by torch in 0 of 3 trials, by keras in 2 of 3 trials",
            id="a missed target is counted and throughput decides",
        ),
        says(
            trials(extra=by_backend({"test_top1": 0.895}, {"test_top1": 0.885}), test_count=200),
            "; test top-1 0.885 against 0.895, undecided (-1.0 points, 95 % CI -7.2 to +5.2; "
            "200 images)",
            id="200 images cannot tell two accuracies apart",
        ),
        says(
            trials(extra=by_backend({}, {}, test_top1=0.9), test_count=10_000),
            "top-1 0.900 against 0.900, equal within 1 point (+0.0 points, 95 % CI -0.8 to +0.8; "
            "10,000 images)",
            id="10,000 images can call two accuracies equal",
        ),
        says(
            trials(metric="feed_images_per_s", strategy="dataset"),
            "simple_cnn: torch feeds 1.18x faster than keras",
            id="feeding is called feeding",
        ),
        says(
            trials([236.0, 118.0, 59.0], [200.0, 100.0, 50.0]),
            "torch trains 1.18x faster than keras (95 % CI 1.18-1.18, 3 trials)",
            id="trials pair by their index, so a machine that slows down blurs nothing",
        ),
    ],
)  # fmt: skip
def test_an_answer_says(records, fragments, never):
    """One line with all that is claimed, and nothing that must not be."""
    (answer,) = answers(records)

    assert all(fragment in answer for fragment in fragments), answer
    assert not any(word in answer for word in never), answer


def test_a_disturbed_benchmark_disturbs_the_overall_answer_alone_beside_its_own():
    """The other benchmark was measured on a quiet machine and has its winner."""
    records = [*trials(benchmark="a", extra={"torch": BUSY}), *trials(benchmark="b")]

    overall, busy, quiet = answers(records)

    assert overall.startswith(
        f"overall: no winner between torch and keras in speed of training: 1.18x {MARK}"
    )
    assert "of 2 lines torch wins 1, keras 0, equal 0, undecided 1" in overall
    assert MARK in busy
    assert quiet.startswith("b: torch trains 1.18x faster than keras (95 % CI")


@pytest.mark.parametrize(
    ("used", "cores", "is_busy"),
    [(0.5, 2, False), (0.51, 2, True), (3.9, 16, False), (4.1, 16, True), (0.3, None, True)],
)
def test_a_machine_is_busy_beyond_a_quarter_of_its_cores(used, cores, is_busy):
    """A machine of unknown size is taken for one of a single core."""
    records = trials(extra={"torch": {"foreign_cores": used}})
    run = {"environment": {"cores": cores}} if cores else {}

    (answer,) = answers_in(run, records)

    assert (MARK in answer) == is_busy
    assert ("faster" in answer) != is_busy
    for text in (plain_text(run, records, width=300), markdown(run, records)):
        assert ("machine busy: unreliable" in text) == is_busy


def test_more_comparisons_ask_for_more_certainty():
    """What names a winner alone is open among the 45 comparisons of ten backends."""
    alone = trials([106.0, 109.0, 110.0, 111.0], [100.0] * 4)
    crowd = [
        record("simple_cnn", f"other{number}", trial=trial, metrics={"train_images_per_s": 50.0})
        for number in range(8)
        for trial in range(1, 5)
    ]

    (single,) = answers(alone)
    among = next(one for one in answers([*alone, *crowd]) if "torch and keras" in one)

    assert "torch trains 1.09x faster than keras" in single
    assert "no winner between torch and keras" in among
    assert "among 45 comparisons" in among


def test_trials_of_a_third_backend_between_two_do_not_part_them():
    """Among three backends the first and the last of a turn are neighbours, however long it is."""
    rates = {"keras": 100.0, "numpy": 3.0, "torch": 118.0}
    records = [
        record(
            backend=backend,
            trial=trial,
            metrics={"train_images_per_s": rate + trial / 10, "wall_s": 1200.0},
            started=f"2026-11-23T{10 + trial}:{20 * number:02}:00Z",
            proofs=dict.fromkeys(rates, "proven"),
        )
        for trial in (1, 2, 3)
        for number, (backend, rate) in enumerate(rates.items())
    ]

    said = answers(records)

    assert "simple_cnn: torch trains 1.18x faster than keras" in said[0]
    assert not any("different times" in one for one in said)


def answered(
    torch: tuple[int, int], keras: tuple[int, int], *, count: int = 3
) -> list[dict[str, Any]]:
    """Return trials whose models are right on so many images: the later ones, and the first."""
    right = {"torch": torch, "keras": keras}
    records = trials(FASTER[:count], BASE[:count], test_count=1000)
    for one in records:
        low, high = right[one["backend"]]
        hits = np.arange(1000) < (high if one["trial"] == 1 else low)
        one["metrics"] |= {"test_top1": hits.mean(), "test_right": int(hits.sum())}
        one["test_bits"] = packed(hits)
    return records


@pytest.mark.parametrize(
    ("torch", "keras", "count", "said"),
    [
        ((900, 900), (950, 950), 1, "these two trained models differ (-5.0 points, 95 % CI -6.4 to "
         "-3.6, McNemar p = 1.8e-15; 1,000 images)"),
        ((900, 900), (950, 950), 2, "undecided (-5.0 points"),
        ((900, 900), (950, 950), 3, "different (-5.0 points, 95 % CI -6.4 to -3.6; 1,000 images)"),
        ((900, 905), (950, 920), 3, "undecided (-3.8 points"),
        ((950, 950), (950, 950), 1, "these two trained models are equal within 1 point (+0.0"),
        ((950, 950), (950, 950), 2, "these trained models are equal within 1 point (+0.0"),
        ((950, 950), (950, 950), 3, "equal within 1 point (+0.0"),
    ],
)  # fmt: skip
def test_one_trial_speaks_of_its_models_and_three_of_the_frameworks(torch, keras, count, said):
    """What another seed gives is known from other seeds alone."""
    (answer,) = answers(answered(torch, keras, count=count))

    assert f", {said}" in answer


def test_the_accuracies_shown_are_those_whose_difference_is_told():
    """Means: of 0.90, 0.91, 0.91 and 0.95, 0.94, 0.94, where medians would tell of 3.0 points."""
    (answer,) = answers(answered((910, 900), (940, 950)))

    assert "top-1 0.907 (0.900-0.910) against 0.943 (0.940-0.950), " in answer
    assert "(-3.7 points" in answer


def test_the_native_track_is_named_and_never_mixed():
    """Each track has its answer; the overall one counts the equal track alone."""
    equal = [*trials(), *trials(EQUAL, benchmark="fine_tune")]
    native = trials([500.0, 510.0, 490.0], track="native", proof="")

    overall, *rest = answers([*equal, *native])

    assert "geometric mean over 2 benchmarks, one vote each" in overall
    assert "of 2 lines torch wins 1, keras 0, equal 0, undecided 1" in overall
    assert rest[-1].startswith(
        "simple_cnn (native): native track, each framework as its users write it: "
        "training throughput: ratio 5.00x"
    )


STORED = by_backend({}, {}, extract_s=1.0, extract_reused=True, train_s=1.0)
EXTRACTED = by_backend({"train_s": 1.0}, {"train_s": 0.25}, extract_s=1.0, extract_reused=False)


@pytest.mark.parametrize(
    ("records", "start", "end"),
    [
        pytest.param(
            [*trials(benchmark="a"), *trials(benchmark="b"),
             *trials([900.0] * 3, benchmark="c", proof=PARTIAL)],
            "overall: torch trains 1.18x faster than keras (95 % CI",
            "geometric mean over 2 benchmarks, one vote each: their typical ratio; "
            "of 2 lines torch wins 2, keras 0, equal 0, undecided 0; left out: c (not proven)",
            id="the geometric mean of the proven; the unproven is said to be missing",
        ),
        pytest.param(
            [*trials(benchmark="a", matrix={"size": 32}),
             *trials(benchmark="a", matrix={"size": 64}, proof=PARTIAL), *trials(benchmark="b")],
            "overall: torch trains 1.18x",
            "left out: points of a (not proven)",
            id="a point of a matrix that has no vote is told from its benchmark",
        ),
        pytest.param(
            [*trials(benchmark="a"), *trials(benchmark="b"),
             *trials([300.0], [100.0], benchmark="c")],
            "overall: torch trains 1.18x faster than keras (95 % CI",
            "left out: c (one trial)",
            id="a benchmark of one trial has no vote and the others keep theirs",
        ),
        pytest.param(
            [*trials([400.0] * 3, benchmark="a", strategy="bottleneck", extra=EXTRACTED),
             *trials([160.0] * 3, benchmark="b")],
            # A head 4x as fast after an equal extraction of the same length: 2 over 1.25.
            "overall: torch trains 1.60x faster than keras (95 % CI 1.60-1.60, 3 trials)",
            "",
            id="the time of a bottleneck includes the extraction",
        ),
        pytest.param(
            [*trials(benchmark="a", strategy="bottleneck", extra=STORED), *trials(benchmark="b")],
            "overall: no ratio, because fewer than two benchmarks measured all of the work: ",
            ": a (stored features were read)",
            id="features read from an earlier trial have no vote",
        ),
    ],
)  # fmt: skip
def test_the_overall_answer(records, start: str, end: str):
    """From benchmarks of which all work was measured and proven, one vote each."""
    overall = answers(records)[0]

    assert overall.startswith(start)
    assert overall.endswith(end)


def test_a_benchmark_has_one_vote_whatever_its_matrix():
    """Four points of 2.0 and one benchmark of 0.5 make 1.0, not 1.5."""
    points = [
        one
        for size in (32, 64, 96, 128)
        for one in trials([200.0, 201.0, 199.0], benchmark="a", matrix={"size": size})
    ]

    overall = answers([*points, *trials([50.0, 50.2, 49.9], benchmark="b")])[0]

    assert "between torch and keras in speed of training: 1.0" in overall or "equal" in overall
    assert "geometric mean over 2 benchmarks" in overall
    assert "of 5 lines torch wins 4, keras 1" in overall


def test_among_many_backends_the_leader_alone_is_held_against_each():
    """Seven backends have 21 pairs, and nobody reads 21 lines."""
    rates = {"keras": 100.0, "torch": 118.0, "jax": 90.0, "numpy": 2.0}
    records = [
        record(
            benchmark,
            backend,
            trial=trial,
            metrics={"train_images_per_s": rate * (1 + trial / 100)},
            proof="proven",
            proofs=dict.fromkeys(rates, "proven"),
        )
        for benchmark in ("a", "b")
        for backend, rate in rates.items()
        for trial in (1, 2, 3)
    ]

    said = answers(records)

    assert [re.split(r" \(|: ", answer)[1] for answer in said if answer.startswith("overall")] == [
        "torch trains 1.18x faster than keras",
        "torch trains 1.31x faster than jax",
        "torch trains 59.00x faster than numpy",
    ]
    assert all("torch" in answer for answer in said)
    assert len(said) == 3 * 3


def test_one_benchmark_has_no_overall_answer():
    """It would say the same twice; without a common trial there is no answer at all."""
    apart = trials([118.0, 119.0], [100.0, 101.0])
    apart[0]["status"] = apart[3]["status"] = "failed"

    assert len(answers(trials())) == 1
    assert answers(apart) == []


def test_answers_stand_between_title_and_table():
    """In text and in Markdown alike."""
    text, marked = plain_text({"title": "T"}, trials()), markdown({"title": "T"}, trials())

    assert text.startswith("T\nsimple_cnn: torch trains 1.18x")
    assert marked.index("- simple\\_cnn: torch trains 1.18x") < marked.index("| benchmark")


def test_a_trial_that_was_killed_is_no_idle_time():
    """It has measured nothing, and it ran between the others, which are neighbours."""

    def ran(backend: str, trial: int, begin: int, end: int, **changes: Any) -> dict[str, Any]:
        times = (
            f"2026-11-23T{10 + trial}:{second // 60:02}:{second % 60:02}+00:00"
            for second in (begin, end)
        )
        proofs = {other: "proven" for other in ("keras", "jax", "torch") if other != backend}
        return record(backend=backend, trial=trial, proof="proven", proofs=proofs) | dict(
            zip(("started", "ended"), times, strict=True), **changes
        )

    records = []
    for trial in range(1, 6):
        slow, fast = ({"train_images_per_s": speed + trial / 10} for speed in (100.0, 124.0))
        records += [
            ran("keras", trial, 0, 60, metrics=slow | {"wall_s": 60.0}),
            ran("jax", trial, 60, 660, status="timeout", reason="late", metrics={}),
            ran("torch", trial, 660, 710, metrics=fast | {"wall_s": 50.0}),
        ]

    (answer,) = answers(records)

    assert answer.startswith("simple_cnn: torch trains 1.24x faster than keras"), answer


def test_a_seed_counts_once_in_accuracies():
    """Merged runs repeat seeds, and a training that is repeated is no other sample."""
    records = [
        record(backend=backend, trial=trial, seed=40 + seed)
        for trial, seed in enumerate((1, 2, 1, 2), start=1)
        for backend in ("keras", "torch")
    ]
    (row,) = rows_of(records, ["keras", "torch"], cores=2)
    (pair,) = pairs_of(row)

    accuracy = pair.accuracy()

    assert accuracy is not None
    assert len(accuracy.a) == len(accuracy.b) == 2
