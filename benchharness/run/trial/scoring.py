"""Check of a trial's scores against its own logits and weights."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchharness.model.task import Batch, Execution, Optimizer, Scores, Task
from benchharness.model.work import Batches, Training
from benchharness.plugins import REFERENCE, installed, load_backend

# Distance of logits over the largest, by precision: float32 sums through many layers, the others
# round to 8 or 11 bits at each.
_TOLERANCE = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 1e-1}
# What the reference computes in some tenths of a second, and the values that it may copy for that.
_REFERENCE_FLOPS, _REFERENCE_VALUES = 2e8, 5e6
_REFERENCE_IMAGES = 4
# Sampled batches that would take longer to score are the last one alone.
_SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCheck:
    """Check of the scores of one training.

    Attributes:
        task: Of the training.
        batches: That were scored, in their order; the last one may be smaller.
        seconds: What scoring them has taken.
        flops: Of one image through the network.
    """

    training: Training
    task: Task
    batches: Batches
    seconds: float
    flops: float

    def trouble(self) -> str:
        """Return what is wrong with the scores of a sample; empty for nothing."""
        try:
            return self._compared()
        except Exception as error:
            # A full device may have no room for it. What has been measured stays, unproven; the
            # traceback is in the log.
            traceback.print_exc()
            return f"evaluation: could not be checked ({type(error).__name__})"

    def _compared(self) -> str:
        sample = self._sample()
        scores = self.training.evaluate(sample)
        logits = np.concatenate([self.training.logits(batch) for batch in sample])
        labels = np.concatenate([batch.labels for batch in sample])
        own = judged(logits, labels, output=self.task.output)
        return self._against(scores, own, margins=margins(logits)) or self._against_reference(
            sample[-1], logits[len(logits) - len(sample[-1]) :]
        )

    @property
    def _tolerance(self) -> float:
        return _TOLERANCE[self.task.execution.precision]

    def _sample(self) -> Sequence[Batch]:
        """Return the last batches, a full one before the smaller."""
        count = len(self.batches)
        is_costly = 2 * self.seconds / count > _SAMPLE_S
        return [
            self.batches[place] for place in range(max(0, count - (1 if is_costly else 2)), count)
        ]

    def _against(self, scores: Scores, own: Scores, *, margins: NDArray[np.float64]) -> str:
        """Return how scores differ from those that the backend's own logits give."""
        if scores.count != own.count:
            return f"evaluation: scored {scores.count} of {own.count} images"
        off = abs(scores.loss - own.loss)
        # A logit that is off by so much moves the loss by no more.
        if not off <= self._tolerance * max(1.0, own.loss):
            return (
                f"evaluation: scored a loss of {scores.loss:.4g} where its logits give "
                f"{own.loss:.4g}"
            )
        ties = int((margins <= self._tolerance).sum())
        right, ours = scores.top1 * scores.count, own.top1 * own.count
        if abs(right - ours) > ties + 0.5:
            return f"evaluation: scored {right:.0f} images right where its logits give {ours:.0f}"
        return ""

    def _against_reference(self, batch: Batch, logits: NDArray[np.float32]) -> str:
        """Return how logits differ from the reference's, by the backend's own weights."""
        images = min(_REFERENCE_IMAGES, len(batch), int(_REFERENCE_FLOPS / self.flops))
        values = sum(int(np.prod(p.shape)) for p in self.task.network.parameters().values())
        is_absent = REFERENCE not in installed()
        if is_absent or not images or values > _REFERENCE_VALUES:
            return ""
        reference = load_backend(REFERENCE, options={}).train(
            replace(
                self.task,
                weights=self.training.weights(),
                execution=Execution(device="cpu", threads=self.task.execution.threads),
                # No step is taken, so any optimizer will do; in the native track the task has none.
                optimizer=Optimizer(name="sgd", lr=0.0),
                native=None,
                files=None,
                witness=None,
            )
        )
        wanted = reference.logits(batch.take(slice(images)))
        off = float(np.abs(wanted - logits[:images]).max()) / max(float(np.abs(wanted).max()), 1.0)
        if off <= self._tolerance:
            return ""
        return f"evaluation: its logits are {off:.1e} off those that its weights give"


def judged(logits: NDArray[np.float32], labels: NDArray[np.int32], *, output: str) -> Scores:
    """Return the mean cross-entropy and share of right guesses, in float64.

    Args:
        logits: Shape (images, outputs).
        labels: Shape (images,).
        output: ``softmax``, or ``sigmoid`` of a single logit.
    """
    values = logits.astype(np.float64)
    if output == "sigmoid":
        values = np.stack([np.zeros(len(values)), values[:, 0]], axis=1)
    values -= values.max(axis=1, keepdims=True)
    losses = np.log(np.exp(values).sum(axis=1)) - values[np.arange(len(labels)), labels]
    hits = values.argmax(axis=1) == labels
    return Scores(loss=float(losses.mean()), top1=float(hits.mean()), count=len(labels))


def margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far each image's best guess is before the second."""
    values = logits.astype(np.float64)
    if values.shape[1] == 1:
        return np.abs(values[:, 0])
    best = np.sort(values, axis=1)
    found: NDArray[np.float64] = best[:, -1] - best[:, -2]
    return found
