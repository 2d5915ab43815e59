"""A certificate says proven when every distance is small, else what is off, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchharness.fairness.certificate import Certificate, amended, compare, overall
from benchharness.fairness.probe import Probe
from benchharness.fairness.tolerances import STAGES
from benchharness.report.views import certificates_table

Arrays = Mapping[str, Mapping[str, Any]]


def probe(arrays: Arrays, *, is_deep: bool = False, deviations: tuple[str, ...] = ()) -> Probe:
    """Return a probe of these arrays."""
    made = {
        stage: {name: np.array(array) for name, array in values.items()}
        for stage, values in arrays.items()
    }
    return Probe(arrays=made, settings={}, deviations=deviations, is_deep=is_deep)


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


def logits(factor: float = 1.0, *, off: float = 0.0) -> Arrays:
    """Return four logits, of which the largest is 4, one of them off."""
    return {"logits": {"logits": factor * np.array([1.0, -2.0, 4.0, 0.5 + off])}}


def rows(stage: str, name: str, count: int) -> Arrays:
    """Return a stage with so many rows."""
    return {stage: {name: np.ones((count, 4))}}


ZEROS: Arrays = {"coverage": {"images scored": [0.0], "steps": [0.0]}}

VERDICTS: dict[str, tuple[str, Arrays, Arrays]] = {
    "equal numbers": ("proven", logits(), logits()),
    # Off by 4e-5 is off by 1e-5 of the largest; off by 0.4 is 0.1 of it.
    "a distance within its tolerance": ("proven", logits(off=4e-5), logits()),
    "a distance beyond it": (
        "partial: logits (1.0e-01 over 2e-05)",
        logits(off=0.4),
        logits(),
    ),
    # A network with a frozen block more is another network, and the array is named.
    "another number of learnt values": (
        "not comparable: counts (0 of 9 values learn)",
        {"counts": {"block5/kernel": [9, 9]}},
        {"counts": {"block5/kernel": [9, 0]}},
    ),
    # A rule that moves one percent too far says so first.
    "another movement": (
        "partial: optimizer (torch moved 1.01 times as far as keras, 9.9e-03 over 0.0001)",
        {"optimizer": {"movement": np.ones(4)}},
        {"optimizer": {"movement": np.full(4, 1.01)}},
    ),
    "a missing batch": (
        "partial: order (7 of 8 batches)",
        rows("order", "fingerprints", 7),
        rows("order", "fingerprints", 8),
    ),
    "a batch missing on the other side": (
        "partial: order (7 of 8 batches)",
        rows("order", "fingerprints", 8),
        rows("order", "fingerprints", 7),
    ),
    # A network that flattens in its own order sees the same values elsewhere.
    "pixels in another order": (
        "partial: pixels (the same values in another order, 1.0e+00 over 0.0003)",
        {"pixels": {"pixels": [0.0, 2.0]}},
        {"pixels": {"pixels": [2.0, 0.0]}},
    ),
    "images that nobody scored": (
        "partial: coverage (4 fewer images scored than planned)",
        {"coverage": {"images scored": [-4]}},
        {"coverage": {"images scored": [0]}},
    ),
    # Of two gradients, the one that differs is named.
    "one array of two": (
        "partial: gradients (1.6e-01 over 0.005, conv/bias)",
        {"gradients": {"conv/kernel": np.ones(3), "conv/bias": np.ones(3)}},
        {"gradients": {"conv/kernel": np.ones(3), "conv/bias": [1.0, 1.0, 1.3]}},
    ),
    # Frozen weights that both backends move alike are still moved.
    "what ought to be zero": (
        "partial: frozen (1.0e-09 over 0)",
        {"frozen": {"conv/kernel": [1e-9]}},
        {"frozen": {"conv/kernel": [1e-9]}},
    ),
    "a stage that only one side has": (
        "partial: logits (on one side only, logits), frozen (on one side only, conv/kernel)",
        {"frozen": {"conv/kernel": [0.0]}},
        logits(),
    ),
    # NaN and a missing value fail whatever the tolerance.
    "what is not finite": (
        "partial: losses (not finite)",
        {"losses": {"losses": [1.0, 2.0]}},
        {"losses": {"losses": [np.nan, 1.0]}},
    ),
    "another shape": (
        "partial: losses (2 of 3 values)",
        {"losses": {"losses": [1.0, 2.0]}},
        {"losses": {"losses": [1.0, 2.0, 3.0]}},
    ),
    # Weights that are wrong from the start also move otherwise.
    "causes first": (
        "partial: weights (1.0e+00 over 0), "
        "optimizer (torch moved 2 times as far as keras, 5.0e-01 over 0.0001)",
        {"optimizer": {"movement": np.ones(3)}, "weights": {"k": [0.0]}},
        {"optimizer": {"movement": 2 * np.ones(3)}, "weights": {"k": [1.0]}},
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_a_verdict_names_what_is_off_and_how_far(case: str):
    """Whatever differs, in words and figures."""
    verdict, ours, theirs = VERDICTS[case]

    assert certify(probe(ours), probe(theirs)).verdict == verdict


WITH_REFERENCE: dict[str, tuple[str, Arrays, Arrays, Arrays]] = {
    "both are wrong alike": (
        "partial: logits (1.0e+00 over 2e-05, keras against reference)",
        logits(2.0),
        logits(2.0),
        logits(),
    ),
    # However far the two are apart: a pair does not say which of them is wrong.
    "one strays": (
        "partial: logits (5.0e-01 over 2e-05, torch against reference)",
        logits(),
        logits(0.5),
        logits(),
    ),
    "batches beyond the plan": (
        "partial: labels (8 batches instead of 4, torch against reference)",
        rows("labels", "labels", 4),
        rows("labels", "labels", 8),
        rows("labels", "labels", 4),
    ),
    # It scores images of a large network and takes no epoch of it; both backends do both.
    "the reference leaves out part of a stage": (
        "proven",
        ZEROS,
        ZEROS,
        {"coverage": {"images scored": [0.0]}},
    ),
    "a backend leaves out what the reference has": (
        "partial: coverage (on one side only, keras against reference)",
        {"coverage": {"steps": [0.0]}},
        {"coverage": {"steps": [0.0]}},
        {"coverage": {"images scored": [0.0]}},
    ),
    "one backend leaves out what the other has": (
        "partial: coverage (on one side only)",
        {"coverage": {"images scored": [0.0]}},
        ZEROS,
        {"coverage": {"images scored": [0.0]}},
    ),
}


@pytest.mark.parametrize("case", WITH_REFERENCE)
def test_the_reference_says_which_side_strays(case: str):
    """And may be slow, so that it has not all stages."""
    verdict, ours, theirs, reference = WITH_REFERENCE[case]

    assert certify(probe(ours), probe(theirs), probe(reference)).verdict == verdict


def test_a_distance_is_kept_where_it_is_proven():
    """A logit off by 4e-5 of 4."""
    certificate = certify(probe(logits(off=4e-5)), probe(logits()))

    assert certificate.findings[0].off == pytest.approx(1e-5)


def test_deep_networks_may_differ_by_more():
    """A gradient off by 8e-3 is proven through VGG16, and not in a small network."""
    ours, theirs = {"gradients": {"k": np.ones(4)}}, {"gradients": {"k": np.full(4, 1.008)}}

    assert certify(probe(ours, is_deep=True), probe(theirs, is_deep=True)).is_proven
    assert not certify(probe(ours), probe(theirs)).is_proven


def test_a_stated_setting_that_a_backend_reports_otherwise_is_no_proof():
    """What a backend says of itself comes first: it decides what every stage gives."""
    ours = probe({"losses": {"losses": np.ones(3)}})
    theirs = {"losses": {"losses": 2 * np.ones(3)}}

    strayed = certify(ours, probe(theirs, deviations=("tf32: true instead of false",)))

    settings = "settings (torch: tf32: true instead of false)"
    assert strayed.verdict == f"partial: {settings}, losses (5.0e-01 over 0.01)"


@pytest.mark.parametrize(
    ("proof", "deviation", "expected"),
    [
        ("proven", None, "proven"),
        (
            "proven",
            "ledger (epoch 1: 3 steps instead of 4)",
            "partial: ledger (epoch 1: 3 steps instead of 4)",
        ),
        ("partial: logits (far)", "ledger (x)", "partial: logits (far), ledger (x)"),
        ("not comparable: counts", "ledger (x)", "not comparable: counts"),
        # A setting that both found is named once.
        (
            "partial: settings (torch: dropout: 0.4 instead of 0.3)",
            "settings (dropout: 0.4 instead of 0.3)",
            "partial: settings (torch: dropout: 0.4 instead of 0.3)",
        ),
    ],
)
def test_a_timed_trial_takes_back_what_was_proven(proof: str, deviation: str | None, expected: str):
    """A ledger that is not as planned voids the verdict, and is named."""
    assert amended(proof, (deviation,) if deviation else ()) == expected


def test_a_third_backend_that_strays_says_nothing_against_the_first():
    """The anchor keeps the best of its verdicts, the others theirs with the anchor."""
    assert overall({"b": "proven", "c": "partial: x"}, anchor="a") == "proven"
    assert overall({"a": "partial: x", "b": "partial: y"}, anchor="a") == "partial: x"
    assert overall({}, anchor="a") == ""


def test_every_tolerance_has_a_meaning_and_a_reason():
    """A tolerance without a reason is a number that somebody liked."""
    assert all(stage.meaning and stage.reason for stage in STAGES)
    assert len({stage.name for stage in STAGES}) == len(STAGES)


def test_what_cannot_be_subtracted_is_told_in_words():
    """Another shape is no number, in a terminal as little as on the page."""
    console = Console(width=160, file=StringIO())

    one, other = probe(logits()), probe({"logits": {"logits": np.ones(3)}})
    console.print(certificates_table([certify(one, other)]))

    text = console.file.getvalue()
    assert "of another kind" in text
    assert " inf " not in text
