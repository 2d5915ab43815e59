"""Stages that a certificate compares, and how far two backends may be apart at each.

The figures beside each reason were measured with float32 arithmetic on a CPU between Keras on
TensorFlow, PyTorch and a float64 reference in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Measure = Literal["equal", "zero", "largest", "norm", "relative", "absolute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One thing that two backends must have in common.

    Attributes:
        measure: How the distance of arrays a and b is taken, the worst over all of a stage:
            ``equal``: the share of entries that differ; ``zero``: the largest |a| or |b|, which
            ought to be 0; ``largest``: max |a - b| over max |b|; ``norm``: the Euclidean norm of
            a - b over that of b; ``relative``: max |a - b| / |b|; ``absolute``: max |a - b|.
        tolerance: The largest distance that is still the same work.
        deep: The tolerance where ten layers or more learn or are passed; None for the same.
        reason: Why that far and no farther.
    """

    name: str
    measure: Measure
    tolerance: float
    deep: float | None = None
    meaning: str
    reason: str

    @property
    def is_movement(self) -> bool:
        """Whether its arrays are changes of weights."""
        return self.name in ("optimizer", "decay", "update", "movement", "last step")

    def limit(self, *, is_deep: bool) -> float:
        """Return the tolerance for a network of many layers, or of few."""
        return self.deep if is_deep and self.deep is not None else self.tolerance


# Causes before what follows from them: a verdict names the first.
STAGES = (
    Stage(
        name="counts",
        measure="equal",
        tolerance=0.0,
        meaning="values in each learnt array, and which arrays learn",
        reason="another count is another network",
    ),
    Stage(
        name="weights",
        measure="zero",
        tolerance=0.0,
        meaning="initial weights, read back after loading, less what was to be loaded",
        reason="copying and transposing float32 changes no bit",
    ),
    Stage(
        name="coverage",
        measure="zero",
        tolerance=0.0,
        meaning="images and steps that are counted, less what was planned",
        reason="a batch left out is other work",
    ),
    Stage(
        name="labels",
        measure="equal",
        tolerance=0.0,
        meaning="labels of an epoch in the order in which the loss met them",
        reason="the order is the core's",
    ),
    Stage(
        name="optimizer",
        measure="norm",
        tolerance=1e-4,
        meaning="three steps of the update rule without weight decay on gradients from 1e-9 to 1",
        reason="float32 square roots: 1e-6; an epsilon ten times as large gives 1e-1, a rate 1 % "
        "off 1e-2",
    ),
    Stage(
        name="decay",
        measure="norm",
        tolerance=3e-2,
        meaning="steps of the update rule without a gradient: its weight decay alone",
        reason="5e-6 of a weight in float32: 1e-3; another decay gives what it is off",
    ),
    Stage(
        name="update",
        measure="norm",
        tolerance=1e-4,
        meaning="the same three steps with weight decay, where there is any",
        reason="as optimizer: some frameworks have another rule for weights that decay",
    ),
    Stage(
        name="dropout",
        measure="absolute",
        tolerance=0.03,
        meaning="share of values that dropout zeroes, and the factor on the others",
        reason="shares of 16,384 draws differ by 0.004 one time in three, by 0.03 never",
    ),
    Stage(
        name="masks",
        measure="absolute",
        tolerance=0.03,
        meaning="share of values that two dropout masks treat alike: of one seed after a reset, "
        "of one seed in two trainings, of two seeds",
        reason="as dropout; one seed gives 1, two give what chance gives",
    ),
    Stage(
        name="pixels",
        measure="largest",
        tolerance=3e-4,
        meaning="images as the network sees them in training, augmented and preprocessed",
        reason="bilinear weights in float32 are off by 1e-5 of the range, whitening by 1e-4; "
        "a decoder or a channel order by 1e-1",
    ),
    Stage(
        name="order",
        measure="largest",
        tolerance=1e-3,
        meaning="fingerprints of an epoch's images in the order in which the network met them",
        reason="as pixels; another image gives 1e-1",
    ),
    Stage(
        name="features",
        measure="largest",
        tolerance=1e-4,
        meaning="what the frozen layers give for plain images",
        reason="13 convolutions summed in another order: 1e-5 of the largest; TF32 gives 1e-2",
    ),
    Stage(
        name="logits",
        measure="largest",
        tolerance=2e-5,
        deep=1e-4,
        meaning="the network's output before any step",
        reason="float32 sums in another order: 1e-6 of the largest; bfloat16 gives 1e-2",
    ),
    Stage(
        name="loss",
        measure="relative",
        tolerance=1e-5,
        deep=1e-4,
        meaning="cross-entropy of the first step",
        reason="a mean of logarithms of such logits: 1e-6",
    ),
    Stage(
        name="gradients",
        measure="norm",
        tolerance=5e-3,
        deep=1e-2,
        meaning="gradient of the first loss by each array that learns",
        reason="float32 sums give 1e-6; a value at the edge of a ReLU, or two alike in a pooling "
        "window, falls to either side: 1e-3 in a small network, 4e-3 through all of VGG16",
    ),
    Stage(
        name="evaluation",
        measure="relative",
        tolerance=1e-5,
        deep=1e-4,
        meaning="loss of plain images, scored without dropout",
        reason="as loss",
    ),
    Stage(
        name="guesses",
        measure="absolute",
        tolerance=1.0,
        meaning="plain images whose best guess is right, scored without dropout",
        reason="an image whose two best classes are equal to rounding falls to either side",
    ),
    Stage(
        name="losses",
        measure="largest",
        tolerance=1e-2,
        meaning="cross-entropy along the first optimizer steps",
        reason="rounding grows from step to step: 1e-5, and a hundred times that in VGG16 or "
        "where the first gradients are 1e-4 apart, as on drawn pictures; 7e-3 where they are 8e-4",
    ),
    Stage(
        name="movement",
        measure="norm",
        tolerance=2e-1,
        meaning="how far each array has moved by then",
        reason="Adam and RMSprop divide by the gradient's own size, so that gradients which are "
        "nearly nothing, and mostly rounding, move weights as far as any other: 1e-2, and 9e-2 "
        "on drawn pictures",
    ),
    Stage(
        name="frozen",
        measure="zero",
        tolerance=0.0,
        meaning="how far the arrays that do not learn have moved by then",
        reason="frozen is frozen",
    ),
    Stage(
        name="last step",
        measure="norm",
        tolerance=0.5,
        meaning="how far the last batch of an epoch, which is smaller, moves each array",
        reason="as movement, of a single step after others have grown apart: 2e-1 in a small "
        "network on photographs; a batch that nobody trains on gives 1",
    ),
)
# Layers with weights on the way of the gradient from which a network counts as deep.
DEEP_FROM = 10
