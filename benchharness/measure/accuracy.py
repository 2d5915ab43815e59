"""Difference of two accuracies: right answers counted, and compared image by image."""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any, Literal, Self

from benchharness.measure.statistics import CONFIDENCE, paired_p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Nearer than one point, two accuracies serve a user equally well.
MARGIN = 0.01
# With fewer trials it is unknown how much another seed would change.
FEWEST_TRIALS = 3

AccuracyVerdict = Literal["equal", "different", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Right answers of one trained model on a set of images.

    ``bits`` has one per image, as ``packed`` gives them; None where only the count is known.
    """

    right: int
    of: int
    bits: str | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any], split: str) -> Self | None:
        """Return a trial's score on ``train`` (the last epoch), ``validation`` or ``test``, if any.

        Older records have a share, perhaps a mean in float32, and no bits.
        """
        top1, count = record["metrics"].get(f"{split}_top1"), record.get(f"{split}_count")
        if not count or top1 is None or not math.isfinite(top1):
            return None
        bits = record.get(f"{split}_bits")
        try:
            is_whole = isinstance(bits, str) and len(b64decode(bits)) == -(-count // 8)
        except binascii.Error:
            is_whole = False
        return cls(right=round(top1 * count), of=count, bits=bits if is_whole else None)

    @property
    def top1(self) -> float:
        """Share of right answers, 0-1."""
        return self.right / self.of

    def hits(self) -> NDArray[np.bool_]:
        """Return which answers are right, shape (of,); ValueError if only the count is known."""
        import numpy as np

        if self.bits is None:
            raise ValueError("bits: expected one per image, found none")
        packed_bytes = np.frombuffer(b64decode(self.bits), dtype=np.uint8)
        return np.unpackbits(packed_bytes, count=self.of).astype(np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyDifference:
    """Difference of two accuracies, in shares of the images.

    From three trials on, the interval is for the two frameworks: other seeds and other images of
    the same kind. With fewer it is for the models at hand, on other images.

    Attributes:
        difference: Mean of A minus mean of B; ``low`` and ``high`` end its 95 % interval.
        margin: Largest difference that does not matter.
        trials: Pairs of trials.
        p_value: Of McNemar's exact test; None but for one trial whose answers are known by image.
        verdict: ``equal`` when the 90 % interval lies within the margin (two one-sided tests at
            5 %), else ``different`` when the 95 % interval excludes 0, of one trial when McNemar's
            test has p < 0.05, of two trials never; else ``undecided``. Of several comparisons each
            is held to its part of these 5 %.
    """

    difference: float
    low: float
    high: float
    margin: float
    trials: int
    p_value: float | None
    verdict: AccuracyVerdict

    @property
    def is_of_frameworks(self) -> bool:
        """Whether there are enough trials to speak of more than the models at hand."""
        return self.trials >= FEWEST_TRIALS


def packed(hits: NDArray[np.bool_]) -> str:
    """Return bits as text: eight to the byte, the first image's the highest, in base64."""
    import numpy as np

    return b64encode(np.packbits(hits).tobytes()).decode("ascii")


def accuracy_difference(
    a: Sequence[Score], b: Sequence[Score], *, comparisons: int = 1
) -> AccuracyDifference:
    """Return the difference of two accuracies, and whether it matters.

    Two kinds of chance act. Seeds end each training elsewhere: the differences of paired trials
    scatter. The images are a sample, the same one in all trials: on some images one side is right
    more often, whatever the seed. The variance of the mean difference is that of a table of
    trials by images with both effects at random; the trials' part has Student's quantile, the
    images' part the normal one, weighted as Cochran (1964) does.

    Where answers are not known by image, the sides count as independent of each other, which
    makes the interval wider than it need be. It is never narrower than if one image were right
    for A alone and one for B alone.

    Args:
        a: Scores of A, one per trial.
        b: Those of B in the paired trials, in the same order, on the same images.
        comparisons: How many a report makes, which share the probability of a false verdict.

    Raises:
        ValueError: There is no pair, or the sides differ in length.

    Source:
        Two random effects: Searle, Casella and McCulloch, "Variance Components" (1992), 4.
        Equivalence: Schuirmann (1987), two one-sided tests. One trial: McNemar (1947), exact.
        Several comparisons: Bonferroni.
    """
    from scipy.stats import norm, t

    differences = [of_a.top1 - of_b.top1 for of_a, of_b in zip(a, b, strict=True)]
    middle, trials, scores = fmean(differences), len(differences), (*a, *b)
    images, is_scatter_known = min(score.of for score in scores), trials >= FEWEST_TRIALS
    by_image = len({score.of for score in scores}) == 1 and all(score.bits for score in scores)
    of_trials = variance(differences) / trials if is_scatter_known else 0.0
    of_images = (_of_images if by_image else _of_two_samples)(a, b, images)

    def reach(confidence: float) -> float:
        """Return half the width of the interval."""
        normal = float(norm.ppf((1 + confidence) / 2))
        students = float(t.ppf((1 + confidence) / 2, trials - 1)) if is_scatter_known else normal
        weighted, total = of_trials * students + of_images * normal, of_trials + of_images
        least = normal * (math.sqrt(2) / (images + 2))
        return max(weighted / math.sqrt(total) if total else 0.0, least)

    level = (1 - CONFIDENCE) / comparisons
    p_value = mcnemar(a[0].hits(), b[0].hits()) if trials == 1 and by_image else None
    is_different = p_value is not None and p_value < level
    if is_scatter_known:
        is_different = abs(middle) > reach(1 - level)
    verdict: AccuracyVerdict = "different" if is_different else "undecided"
    return AccuracyDifference(
        difference=middle,
        low=middle - reach(CONFIDENCE),
        high=middle + reach(CONFIDENCE),
        margin=MARGIN,
        trials=trials,
        p_value=p_value,
        verdict="equal" if abs(middle) + reach(1 - 2 * level) <= MARGIN else verdict,
    )


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the probability that chance splits the disagreements of two models so unevenly.

    Exact and two-sided: under equal accuracy, each image on which one model alone is right is a
    toss of a coin (McNemar 1947). Given is which answers are right, shape (images,).
    """
    alone = int((a & ~b).sum()), int((b & ~a).sum())
    return min(1.0, 2 * paired_p_value(max(alone), min(alone)))


def _of_images(a: Sequence[Score], b: Sequence[Score], images: int) -> float:
    """Return the variance that the sample of images adds to that of the trials."""
    import numpy as np

    if images < 2:
        return 1.0
    hits_a, hits_b = (np.array([score.hits() for score in side], float) for side in (a, b))
    table: NDArray[np.float64] = hits_a - hits_b
    trials, of_means = len(table), float(table.mean(axis=0).var(ddof=1)) / images
    if trials < FEWEST_TRIALS:
        return of_means
    # What is left of single answers is in the scatter of trials already.
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    of_answers = float(np.square(rest).sum()) / ((trials - 1) * (images - 1)) / table.size
    return max(0.0, of_means - of_answers)


def _of_two_samples(a: Sequence[Score], b: Sequence[Score], images: int) -> float:
    """Return the variance of a difference of proportions on independent samples.

    Source:
        Agresti and Caffo (2000): a success and a failure more on each side.
    """
    shares = [(fmean(score.top1 for score in side) * images + 1) / (images + 2) for side in (a, b)]
    return sum(share * (1 - share) for share in shares) / (images + 2)
