"""The answer comes first, and claims no more than proof and chance allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from results_records import record

from benchharness.measure.accuracy import packed
from benchharness.report.rows import backends_of, rows_of
from benchharness.report.summary import answers_in, answers_of
from benchharness.report.table import markdown, plain_text

FASTER = (117.0, 118.0, 119.5)
EQUAL = (98.0, 102.0, 101.0)
BASE = (100.0, 100.0, 100.0)
PARTIAL = "partial: logits (3e-3 over 1e-5)"


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


def timed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return trials as a run carries them out, in turns of both backends, a minute each."""
    for one in records:
        turn = 2 * one["trial"] + (one["backend"] == "torch")
        one["started"] = f"2026-11-23T10:{turn:02}:00Z"
        one["metrics"] = one["metrics"] | {"wall_s": 59.0}
    return records


def answers(records: list[dict[str, Any]]) -> list[str]:
    """Return the answer lines of some records."""
    return answers_of(rows_of(records, backends_of({}, records)))


def test_a_proven_and_certain_difference_has_a_winner():
    """The pair's ratio is 1.18, the geometric mean of 1.17, 1.18 and 1.195."""
    (answer,) = answers(trials())

    assert answer.startswith("simple_cnn: torch trains 1.18x faster than keras (95 % CI 1.15-1.2")
    assert answer.endswith(", 3 trials); same work: proven")


def test_the_winner_does_not_depend_on_the_order_of_the_backends():
    """With the figures swapped keras wins by as much."""
    (answer,) = answers(trials(torch=BASE, keras=FASTER))

    assert answer.startswith("simple_cnn: keras trains 1.18x faster than torch (95 % CI 1.15-1.2")


def test_an_uncertain_difference_is_none_and_tells_what_could_be_detected():
    """The interval holds 1, and so much scatter hides less than 30 % in three trials."""
    (answer,) = answers(trials([92.0, 107.0, 101.0]))

    assert "no difference shown between keras and torch in training throughput: 1.00x" in answer
    assert re.search(r"\(95 % CI [^;]+; minimum detectable difference [\d.]+x\); same work", answer)
    assert "faster" not in answer


def test_more_trials_are_named_where_they_would_probably_decide():
    """Three trials that are 9 % faster, give or take 3 %, need two more."""
    (answer,) = answers(trials([106.0, 109.0, 112.0]))

    assert "no winner between torch and keras in training throughput: 1.09x" in answer
    assert "; 2 more trials would probably decide); same work: proven" in answer


def test_backends_within_the_margin_are_equal():
    """Ten trials that scatter by 1 % leave no room for 3 %."""
    rates = [100.0 + trial % 3 for trial in range(10)]

    (answer,) = answers(trials(rates, [101.0] * 10))

    assert "torch are equal in training throughput, no more than 3 % apart: 1.00" in answer
    assert "faster" not in answer


def test_two_trials_name_no_winner():
    """Not even where they agree to a hair."""
    (answer,) = answers(trials([200.0, 200.1], [100.0, 100.0]))

    assert answer == (
        "simple_cnn: torch 2.00x keras in training throughput (two trials: too few to name a "
        "winner); same work: proven"
    )


def test_one_trial_has_no_interval():
    """There is a ratio, and no remark that it be asked again."""
    (answer,) = answers(trials([118.0], [100.0]))

    assert answer == (
        "simple_cnn: torch 1.18x keras in training throughput (only one trial, no confidence "
        "interval); same work: proven"
    )


BUSY = {"foreign_cores": 1.2}
MARK = "(machine busy: unreliable; "


@pytest.mark.parametrize("side", ["keras", "torch"])
def test_disturbed_trials_name_no_winner_and_the_answer_says_so(side):
    """However certain the ratio is, and whichever side was disturbed."""
    (answer,) = answers(trials(extra={side: BUSY}))

    assert answer.startswith(f"simple_cnn: torch 1.18x keras in training throughput {MARK}95 % CI")
    assert answer.endswith("3 trials): no winner is named; same work: proven")
    assert "faster" not in answer


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((118.0,), "only one trial, no confidence interval)"),
        ((118.0, 118.5), "two trials: too few to name a winner)"),
    ],
)
def test_few_disturbed_trials_say_so_too(rates, said):
    """The ratio of one disturbed trial does not pass for a quiet one."""
    (answer,) = answers(trials(rates, [100.0] * len(rates), extra={"torch": BUSY}))

    assert f"x keras in training throughput {MARK}{said}" in answer


def test_one_disturbed_trial_of_many_is_enough():
    """Nobody can tell how much it has moved the ratio."""
    records = trials([118.0, 118.2, 118.1, 118.4], [100.0] * 4)
    records[0]["metrics"] = records[0]["metrics"] | BUSY

    (answer,) = answers(records)

    assert MARK in answer
    assert "faster" not in answer


def test_disturbed_backends_are_not_called_equal_and_hide_no_difference():
    """Neither of those is sure either."""
    rates = [100.0 + trial % 3 for trial in range(10)]

    (equal,) = answers(trials(rates, [101.0] * 10, extra={"keras": BUSY}))
    (open_one,) = answers(trials([92.0, 107.0, 101.0], extra={"keras": BUSY}))

    for answer in (equal, open_one):
        assert MARK in answer
        assert "no winner is named" in answer
        assert "equal in" not in answer
        assert "no difference shown" not in answer


def test_disturbed_trials_say_so_beside_a_missing_proof_and_another_hour():
    """The qualifier stands with the ratio, whatever else is wrong with it."""
    (unproven,) = answers(trials(proof=PARTIAL, extra={"torch": BUSY}))
    records = timed(trials([120.0, 121.0, 122.0], [100.0, 101.0, 102.0], extra={"torch": BUSY}))
    for one in records[3:]:
        one["started"] = one["started"].replace("T10", "T15")
    (other_hour,) = answers(records)

    assert f"ratio 1.18x, torch to keras {MARK}" in unproven
    assert f"torch 1.20x keras in training throughput {MARK}" in other_hour


def test_a_disturbed_benchmark_disturbs_the_overall_answer_alone_beside_its_own():
    """The other benchmark was measured on a quiet machine and has its winner."""
    records = [*trials(benchmark="a", extra={"torch": BUSY}), *trials(benchmark="b")]

    overall, busy, quiet = answers(records)

    assert overall.startswith(f"overall: torch 1.18x keras in speed of training {MARK}")
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


def test_intervals_are_wider_where_looks_decided_when_to_stop():
    """Trials that stop once they agree have agreed partly by chance."""
    rates = [117.0, 118.0, 119.5, 118.5]

    (fixed,) = answers(trials(rates, [100.0] * 4))
    (looked_at,) = answers(trials(rates, [100.0] * 4, max_trials=10))

    assert "1.18x faster than keras (95 % CI 1.17-1.20, 4 trials)" in fixed
    assert "1.18x faster than keras (95 % CI 1.16-1.20, 4 trials)" in looked_at


def test_sides_that_ran_at_different_times_have_no_winner():
    """Torch was run again hours later: whatever the machine did since is in the ratio."""
    records = timed(trials([120.0, 121.0, 122.0], [100.0, 101.0, 102.0]))
    for one in records[3:]:
        one["started"] = one["started"].replace("T10", "T15")

    (answer,) = answers(records)

    assert "torch 1.20x keras in training throughput (95 % CI" in answer
    assert "): the sides ran at different times, so no winner is named; same work: prov" in answer


def test_a_trial_that_ran_at_another_time_is_left_out():
    """Three pairs are enough; the fourth was torn apart by --only-failed."""
    records = timed(trials([118.0, 118.2, 118.1, 300.0], [100.0] * 4))
    records[-1]["started"] = records[-1]["started"].replace("T10", "T15")

    (answer,) = answers(records)

    assert "torch trains 1.18x faster than keras (95 % CI 1.18-1.18, 3 trials)" in answer
    assert "; 1 trial of each side excluded, because they did not run next to each other" in answer


def test_trials_of_a_third_backend_between_two_do_not_part_them():
    """Among three backends the first and the last of a turn are neighbours, however long it is."""
    rates = {"keras": 100.0, "numpy": 3.0, "torch": 118.0}
    records = [
        record(
            backend=backend,
            trial=trial,
            metrics={"train_images_per_s": rate + trial / 10, "wall_s": 900.0},
            started=f"2026-11-23T{10 + trial}:{20 * number:02}:00Z",
            proofs=dict.fromkeys(rates, "proven"),
        )
        for trial in (1, 2, 3)
        for number, (backend, rate) in enumerate(rates.items())
    ]
    for one in records:
        one["metrics"]["wall_s"] = 1200.0

    said = answers(records)

    assert "simple_cnn: torch trains 1.18x faster than keras" in said[0]
    assert not any("different times" in one for one in said)


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        (PARTIAL, f"same work: NOT PROVEN ({PARTIAL})"),
        ("not comparable: other data", "same work: NOT COMPARABLE (other data)"),
        ("", "same work: not requested"),
    ],
)
def test_without_proof_nobody_wins(proof, said):
    """The ratio stands with its doubt, however certain it is."""
    (answer,) = answers(trials(proof=proof))

    assert "ratio 1.18x, torch to keras (95 % CI" in answer
    assert f"but {said}" in answer
    assert "faster" not in answer


def test_one_doubtful_trial_spoils_the_proof():
    """A ledger that went wrong in a single trial of one side voids the pair."""
    records = trials()
    records[1]["proofs"] = {"torch": "partial: batches (step 3)"}

    (answer,) = answers(records)

    assert "same work: NOT PROVEN (partial: batches (step 3))" in answer


def test_a_target_that_all_reach_is_what_counts():
    """Half the seconds is twice as soon; throughput and extraction are said after."""
    extra = {
        "keras": {"time_to_top1_s": 8.0, "extract_images_per_s": 10.0, "extract_reused": False},
        "torch": {"time_to_top1_s": 4.0, "extract_images_per_s": 15.0, "extract_reused": False},
    }
    settings = {"target_top1": 0.95}

    (answer,) = answers(trials(extra=extra, strategy="bottleneck", settings=settings))

    assert answer.startswith("simple_cnn: torch reaches 0.95 validation top-1 2.00x sooner than ke")
    assert "; throughput of the head's training 1.18x (95 % CI" in answer
    assert "; extraction before it 1.50x (" in answer


def test_reused_features_are_not_compared():
    """Seconds of an earlier trial say nothing of this one."""
    extra = {name: {"extract_images_per_s": 9.0, "extract_reused": True} for name in ("torch",)}

    (answer,) = answers(trials(extra=extra, strategy="bottleneck"))

    assert "torch trains the head 1.18x faster" in answer
    assert answer.endswith("extraction not compared, stored features were read")


def test_a_missed_target_is_counted_and_throughput_decides():
    """Time to target is no answer where a trial never got there."""
    extra = {"keras": {"time_to_top1_s": 8.0}}
    records = trials(extra=extra, settings={"target_top1": 0.95})
    records[0]["metrics"]["time_to_top1_s"] = None

    (answer,) = answers(records)

    assert "torch trains 1.18x faster than keras" in answer
    assert "top-1 reached by torch in 0 of 3 trials, by keras in 2 of 3 trials" in answer


def test_accuracies_stand_beside_with_a_verdict():
    """200 images cannot tell 0.885 from 0.895; 10,000 equal ones can, image by image or not."""
    extra = {"keras": {"test_top1": 0.895}, "torch": {"test_top1": 0.885}}
    same = {"keras": {"test_top1": 0.9}, "torch": {"test_top1": 0.9}}

    (few,) = answers(trials(extra=extra, test_count=200))
    (many,) = answers(trials(extra=same, test_count=10_000))

    assert few.endswith(
        "; test top-1 0.885 against 0.895, undecided (-1.0 points, 95 % CI -7.2 to +5.2; "
        "200 images)"
    )
    assert many.endswith(
        "top-1 0.900 against 0.900, equal within 1 point (+0.0 points, 95 % CI -0.8 to +0.8; "
        "10,000 images)"
    )


def answered(right: dict[str, tuple[int, int]], *, count: int = 3) -> list[dict[str, Any]]:
    """Return trials whose models are right on so many images at the front, by backend and trial."""
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
    (answer,) = answers(answered({"torch": torch, "keras": keras}, count=count))

    assert f", {said}" in answer


def test_the_accuracies_shown_are_those_whose_difference_is_told():
    """Means: of 0.90, 0.91, 0.91 and 0.95, 0.94, 0.94, where medians would tell of 3.0 points."""
    (answer,) = answers(answered({"torch": (910, 900), "keras": (940, 950)}))

    assert "top-1 0.907 (0.900-0.910) against 0.943 (0.940-0.950), " in answer
    assert "(-3.7 points" in answer


def test_feeding_is_called_feeding():
    """`dataset` trains nothing."""
    (answer,) = answers(trials(metric="feed_images_per_s", strategy="dataset"))

    assert answer.startswith("simple_cnn: torch feeds 1.18x faster than keras")


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


def test_the_overall_answer_is_the_geometric_mean_of_the_proven():
    """1.18 and 1.18 are 1.18; the unproven 9 does not count, and is said to be missing."""
    records = [
        *trials(benchmark="a"),
        *trials(benchmark="b"),
        *trials([900.0] * 3, benchmark="c", proof=PARTIAL),
    ]

    overall = answers(records)[0]

    assert overall.startswith("overall: torch trains 1.18x faster than keras (95 % CI")
    assert overall.endswith(
        "geometric mean over 2 benchmarks, one vote each: their typical ratio; "
        "of 2 lines torch wins 2, keras 0, equal 0, undecided 0; left out: c (not proven)"
    )


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


def test_a_point_of_a_matrix_that_has_no_vote_is_told_from_its_benchmark():
    """The other points speak for the benchmark."""
    records = [
        *trials(benchmark="a", matrix={"size": 32}),
        *trials(benchmark="a", matrix={"size": 64}, proof=PARTIAL),
        *trials(benchmark="b"),
    ]

    overall = answers(records)[0]

    assert "geometric mean over 2 benchmarks" in overall
    assert overall.endswith("left out: points of a (not proven)")


def test_a_benchmark_of_one_trial_does_not_make_the_overall_answer_one_trial():
    """It has no vote, and the others keep theirs."""
    records = [
        *trials(benchmark="a"),
        *trials(benchmark="b"),
        *trials([300.0], [100.0], benchmark="c"),
    ]

    overall = answers(records)[0]

    assert overall.startswith("overall: torch trains 1.18x faster than keras (95 % CI")
    assert overall.endswith("left out: c (one trial)")


def test_the_time_of_a_bottleneck_includes_the_extraction():
    """A head 4x as fast after an equal extraction of the same length gains 1.6x: 2 over 1.25."""
    extra = {
        backend: {"extract_s": 1.0, "extract_reused": False, "train_s": train_s}
        for backend, train_s in (("keras", 1.0), ("torch", 0.25))
    }
    head = trials([400.0, 400.0, 400.0], benchmark="a", strategy="bottleneck", extra=extra)

    overall = answers([*head, *trials([160.0] * 3, benchmark="b")])[0]

    assert overall.startswith(
        "overall: torch trains 1.60x faster than keras (95 % CI 1.60-1.60, 3 trials)"
    )


def test_features_read_from_an_earlier_trial_have_no_vote():
    """Such a trial has not done the work; with one benchmark left there is no overall ratio."""
    extra = {
        name: {"extract_s": 1.0, "extract_reused": True, "train_s": 1.0}
        for name in ("keras", "torch")
    }
    head = trials(benchmark="a", strategy="bottleneck", extra=extra)

    overall = answers([*head, *trials(benchmark="b")])[0]

    assert overall == (
        "overall: no ratio, because fewer than two benchmarks measured all of the work: "
        "a (stored features were read)"
    )


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
            proofs={other: "proven" for other in rates if other != backend},
        )
        for benchmark in ("a", "b")
        for backend, rate in rates.items()
        for trial in (1, 2, 3)
    ]

    overall = [answer for answer in answers(records) if answer.startswith("overall")]

    assert [answer.split(" (")[0].split(" ", 1)[1] for answer in overall] == [
        "torch trains 1.18x faster than keras",
        "torch trains 1.31x faster than jax",
        "torch trains 59.00x faster than numpy",
    ]


def test_one_benchmark_has_no_overall_answer():
    """It would say the same twice."""
    assert len(answers(trials())) == 1


def test_trials_pair_by_their_index():
    """A machine that slows down between trials does not blur the ratio."""
    (answer,) = answers(trials([236.0, 118.0, 59.0], [200.0, 100.0, 50.0]))

    assert "torch trains 1.18x faster than keras (95 % CI 1.18-1.18, 3 trials)" in answer


def test_backends_without_a_common_trial_have_no_answer():
    """What failed on one side has no partner."""
    records = trials([118.0, 119.0], [100.0, 101.0])
    records[0]["status"] = records[3]["status"] = "failed"

    assert answers(records) == []


def test_every_other_backend_is_held_against_the_fastest():
    """Three backends have two answers, both with the fastest."""
    jax = [one | {"backend": "jax"} for one in trials() if one["backend"] == "keras"]

    said = answers([*trials(), *jax])

    assert len(said) == 2
    assert all("torch" in answer for answer in said)


def test_answers_stand_between_title_and_table():
    """In text and in Markdown alike."""
    text, marked = plain_text({"title": "T"}, trials()), markdown({"title": "T"}, trials())

    assert text.startswith("T\nsimple_cnn: torch trains 1.18x")
    assert marked.index("- simple\\_cnn: torch trains 1.18x") < marked.index("| benchmark")
