"""A certificate says proven when every distance is small, else what is off, and how far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from benchharness.fairness.certificate import Certificate, amended, compare, overall
from benchharness.fairness.probe import Array, Probe
from benchharness.fairness.tolerances import STAGES

Arrays = Mapping[str, Mapping[str, Array]]


def probe(arrays: Arrays, *, is_deep: bool = False, deviations: tuple[str, ...] = ()) -> Probe:
    """Return a probe of these arrays."""
    return Probe(arrays=arrays, settings={}, deviations=deviations, is_deep=is_deep)


def certify(one: Probe, other: Probe, reference: Probe | None = None) -> Certificate:
    """Return the certificate of two probes."""
    findings, deviations = compare({"keras": one, "torch": other}, reference=reference)
    return Certificate(
        benchmark="small",
        matrix={},
        backends=("keras", "torch"),
        findings=findings,
        deviations=deviations,
    )


LOGITS = np.array([[1.0, -2.0], [4.0, 0.5]])


def test_equal_numbers_are_proven():
    """The same arrays on both sides are the same work."""
    side = probe({"logits": {"logits": LOGITS}, "counts": {"kernel": np.array([4, 4])}})

    assert certify(side, side).verdict == "proven"


def test_a_distance_within_its_tolerance_is_proven_and_told():
    """A logit off by 4e-5 is off by 1e-5 of the largest, which is 4."""
    other = LOGITS + np.array([[0, 0], [0, 4e-5]])

    certificate = certify(
        probe({"logits": {"logits": other}}), probe({"logits": {"logits": LOGITS}})
    )

    assert certificate.is_proven
    assert certificate.findings[0].off == pytest.approx(1e-5)


def test_a_distance_beyond_its_tolerance_is_partial_by_name_and_size():
    """A logit off by 0.4 of 4 is off by 0.1."""
    other = LOGITS + np.array([[0, 0], [0.4, 0]])

    certificate = certify(
        probe({"logits": {"logits": LOGITS}}), probe({"logits": {"logits": other}})
    )

    assert certificate.verdict.startswith("partial: logits (9.1e-02 over 2e-05")


def test_the_array_that_is_farthest_off_is_named():
    """Of two gradients, the one that differs is in the verdict."""
    same, off = np.ones(3), np.array([1.0, 1.0, 1.3])
    ours = probe({"gradients": {"conv/kernel": same, "conv/bias": same}})
    theirs = probe({"gradients": {"conv/kernel": same, "conv/bias": off}})

    assert "conv/bias" in certify(ours, theirs).verdict


def test_two_backends_that_agree_and_are_both_wrong_are_caught_by_the_reference():
    """Where both differ from the float64 reference, nothing is proven."""
    wrong = probe({"logits": {"logits": 2 * LOGITS}})

    certificate = certify(wrong, wrong, probe({"logits": {"logits": LOGITS}}))

    assert "against reference" in certificate.verdict


def test_the_reference_may_leave_out_part_of_a_stage():
    """It scores images of a large network and takes no epoch of it; both backends do both."""
    scored, trained = {"images scored": np.zeros(1)}, {"steps": np.zeros(1)}
    side = probe({"coverage": scored | trained})

    assert certify(side, side, probe({"coverage": scored})).is_proven
    assert not certify(probe({"coverage": scored}), side, probe({"coverage": scored})).is_proven
    assert not certify(
        probe({"coverage": trained}), probe({"coverage": trained}), probe({"coverage": scored})
    ).is_proven


def test_another_number_of_values_cannot_be_compared():
    """A network with a frozen block more is another network, and the array is named."""
    learning = probe({"counts": {"block5/kernel": np.array([9, 9])}})
    frozen = probe({"counts": {"block5/kernel": np.array([9, 0])}})

    verdict = certify(learning, frozen).verdict

    assert verdict == "not comparable: counts (0 of 9 values learn)"


@pytest.mark.parametrize("broken", [np.array([np.nan, 1.0]), np.array([1.0, 2.0, 3.0])])
def test_what_is_not_finite_or_of_another_shape_is_no_small_distance(broken: Array):
    """NaN and a missing value fail whatever the tolerance."""
    sound = probe({"losses": {"losses": np.array([1.0, 2.0])}})

    assert "losses" in certify(sound, probe({"losses": {"losses": broken}})).verdict


def test_a_stage_that_only_one_side_has_is_no_proof():
    """An absent array is named."""
    verdict = certify(
        probe({"frozen": {"conv/kernel": np.zeros(1)}}), probe({"logits": {"logits": LOGITS}})
    ).verdict

    assert "frozen" in verdict
    assert "logits" in verdict


def test_deep_networks_may_differ_by_more():
    """A gradient off by 8e-3 is proven through VGG16, and not in a small network."""
    ours, theirs = {"gradients": {"k": np.ones(4)}}, {"gradients": {"k": np.full(4, 1.008)}}

    assert certify(probe(ours, is_deep=True), probe(theirs, is_deep=True)).is_proven
    assert not certify(probe(ours), probe(theirs)).is_proven


def test_what_ought_to_be_zero_fails_on_both_sides():
    """Frozen weights that both backends move alike are still moved."""
    moved = probe({"frozen": {"conv/kernel": np.array([1e-9])}})

    assert "frozen" in certify(moved, moved).verdict


def test_a_stated_setting_that_a_backend_reports_otherwise_is_no_proof():
    """What a backend says of itself counts too."""
    side = probe({"logits": {"logits": LOGITS}})
    strayed = probe({"logits": {"logits": LOGITS}}, deviations=("tf32: true instead of false",))

    assert (
        certify(side, strayed).verdict == "partial: settings (torch: tf32: true instead of false)"
    )


def test_a_timed_trial_takes_back_what_was_proven():
    """A ledger that is not as planned voids the verdict, and is named."""
    assert amended("proven", ()) == "proven"
    assert amended("proven", ("ledger (epoch 1: 3 steps instead of 4)",)) == (
        "partial: ledger (epoch 1: 3 steps instead of 4)"
    )
    assert amended("partial: logits (far)", ("ledger (x)",)) == "partial: logits (far), ledger (x)"
    assert amended("not comparable: counts", ("ledger (x)",)) == "not comparable: counts"


def test_a_third_backend_that_strays_says_nothing_against_the_first():
    """The anchor keeps the best of its verdicts, the others theirs with the anchor."""
    assert overall({"b": "proven", "c": "partial: x"}, anchor="a") == "proven"
    assert overall({"a": "partial: x", "b": "partial: y"}, anchor="a") == "partial: x"
    assert overall({}, anchor="a") == ""


def test_a_trial_does_not_say_again_what_the_proof_has_said():
    """A setting that both found is named once."""
    verdict = "partial: settings (torch: dropout: 0.4 instead of 0.3)"

    assert amended(verdict, ("settings (dropout: 0.4 instead of 0.3)",)) == verdict


def test_a_movement_is_told_as_a_ratio():
    """A rule that moves one percent too far says so first."""
    ours, theirs = (
        {"optimizer": {"movement": np.ones(4)}},
        {"optimizer": {"movement": np.full(4, 1.01)}},
    )

    verdict = certify(probe(ours), probe(theirs)).verdict

    words = "torch moved 1.01 times as far as keras, 9.9e-03 over 0.0001"
    assert verdict == f"partial: optimizer ({words})"


@pytest.mark.parametrize("counts", [(7, 8), (8, 7)])
def test_missing_batches_are_counted(counts: tuple[int, int]):
    """Seven rows of eight are seven batches, and no other kind of array."""
    ours, theirs = ({"order": {"fingerprints": np.ones((rows, 4))}} for rows in counts)

    assert certify(probe(ours), probe(theirs)).verdict == "partial: order (7 of 8 batches)"


def test_batches_beyond_the_plan_are_counted():
    """The reference says how many there ought to be."""
    more, planned = (probe({"labels": {"labels": np.ones((rows, 2))}}) for rows in (8, 4))

    verdict = certify(planned, more, planned).verdict

    assert verdict == "partial: labels (8 batches instead of 4, torch against reference)"


def test_the_backend_that_strays_from_the_reference_is_named():
    """However far the two are apart: a pair does not say which of them is wrong."""
    sound, wrong = (probe({"logits": {"logits": factor * LOGITS}}) for factor in (1.0, 0.5))

    verdict = certify(sound, wrong, sound).verdict

    assert verdict == "partial: logits (5.0e-01 over 2e-05, torch against reference)"


def test_pixels_in_another_order_are_told_from_other_pixels():
    """A network that flattens in its own order sees the same values elsewhere."""
    ours, theirs = (
        probe({"pixels": {"pixels": np.array(row)}}) for row in ([0.0, 2.0], [2.0, 0.0])
    )

    verdict = certify(ours, theirs).verdict

    assert verdict == "partial: pixels (the same values in another order, 1.0e+00 over 0.0003)"


def test_initial_weights_come_before_what_they_move():
    """Weights that are wrong from the start also move otherwise."""
    ours = {"optimizer": {"movement": np.ones(3)}, "weights": {"k": np.zeros(1)}}
    theirs = {"optimizer": {"movement": 2 * np.ones(3)}, "weights": {"k": np.ones(1)}}

    verdict = certify(probe(ours), probe(theirs)).verdict

    assert verdict.startswith("partial: weights (")


def test_causes_come_before_what_follows_from_them():
    """A wrong rate also gives other losses: its setting is named first, then the rule."""
    ours = {"losses": {"losses": np.ones(3)}, "optimizer": {"movement": np.ones(3)}}
    theirs = {"losses": {"losses": 2 * np.ones(3)}, "optimizer": {"movement": 2 * np.ones(3)}}

    verdict = certify(
        probe(ours), probe(theirs, deviations=("optimizer.lr: 2 instead of 1",))
    ).verdict

    places = [verdict.index(word) for word in ("optimizer.lr", "optimizer (", "losses (")]
    assert places == sorted(places)


def test_images_that_nobody_scored_are_counted():
    """Ten images were planned and six scored."""
    ours, theirs = ({"coverage": {"images scored": np.array([off])}} for off in (-4, 0))

    verdict = certify(probe(ours), probe(theirs)).verdict

    assert verdict == "partial: coverage (4 fewer images scored than planned)"


def test_every_tolerance_has_a_meaning_and_a_reason():
    """A tolerance without a reason is a number that somebody liked."""
    assert all(stage.meaning and stage.reason for stage in STAGES)
    assert len({stage.name for stage in STAGES}) == len(STAGES)
