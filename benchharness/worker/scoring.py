"""Test of a trained network, scored by the core from the backend's logits, and its check."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import PluginError
from benchharness.model.task import Batch, Execution, Optimizer, Scores, Task
from benchharness.model.work import Batches, Training
from benchharness.plugins import REFERENCE, installed, load_backend

# Distance of logits over the largest, by precision: float32 sums through many layers, the others
# round to 8 or 11 bits at each.
_TOLERANCE = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 1e-1}
# What the reference computes in some tenths of a second, and the values that it may copy for that.
_REFERENCE_FLOPS, _REFERENCE_VALUES = 2e8, 5e6
_REFERENCE_IMAGES = 4
# Batches that the backend scores too: a full one before the last, which may be smaller.
_SAMPLE = 2
# Where scoring those would take longer, it is the last one alone.
_SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a network answers to some images.

    Attributes:
        losses: Cross-entropy of each image in nats, float64, shape (images,).
        hits: Whether the best guess is right, shape (images,).
        logits: Of the last batches, as many as are sampled.
    """

    losses: NDArray[np.float64]
    hits: NDArray[np.bool_]
    logits: tuple[NDArray[np.float32], ...] = ()

    @property
    def scores(self) -> Scores:
        """The mean loss, and the share of right guesses."""
        return Scores(
            loss=float(self.losses.mean()), top1=float(self.hits.mean()), count=len(self.hits)
        )

    def last(self, images: int) -> Answers:
        """Return the answers to so many images at the end."""
        return Answers(losses=self.losses[-images:], hits=self.hits[-images:])


def answers_to(batches: Batches, *, training: Training, output: str) -> Answers:
    """Run every batch through the network and judge its logits.

    Args:
        batches: At least one.
        output: ``softmax``, or ``sigmoid`` of a single logit.

    Raises:
        PluginError: A batch has not as many logits as images.
    """
    parts: list[Answers] = []
    logits: list[NDArray[np.float32]] = []
    for batch in batches:
        rows = training.logits(batch)
        if len(rows) != len(batch):
            raise PluginError(
                f"logits: expected a row for each of {len(batch)} images, found {len(rows)}"
            )
        parts.append(judged(rows, batch.labels, output=output))
        logits = [*logits, rows][-_SAMPLE:]
    return Answers(
        losses=np.concatenate([part.losses for part in parts]),
        hits=np.concatenate([part.hits for part in parts]),
        logits=tuple(logits),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCheck:
    """Check of the scores that a backend gives of its own network.

    Attributes:
        task: Of the training.
        batches: The core has scored, in their order; the last one may be smaller.
        answers: To all of them.
        seconds: What scoring them has taken.
        flops: Of one image through the network.
    """

    training: Training
    task: Task
    batches: Batches
    answers: Answers
    seconds: float
    flops: float

    def trouble(self) -> str:
        """Return what is wrong with the scores of a sample; empty for nothing."""
        try:
            sample = self._sample()
            logits = self.answers.logits[-len(sample) :]
            return self._against(
                self.training.evaluate(sample),
                self.answers.last(sum(map(len, sample))).scores,
                margins=np.concatenate([margins(part) for part in logits]),
            ) or self._against_reference(sample[-1], logits[-1])
        except Exception as error:
            # A full device may have no room for it. What has been measured stays, unproven; the
            # traceback is in the log.
            traceback.print_exc()
            return f"evaluation: could not be checked ({type(error).__name__})"

    @property
    def _tolerance(self) -> float:
        return _TOLERANCE[self.task.execution.precision]

    def _sample(self) -> Sequence[Batch]:
        """Return the last batches."""
        count = len(self.batches)
        is_costly = _SAMPLE * self.seconds / count > _SAMPLE_S
        return [
            self.batches[place]
            for place in range(max(0, count - (1 if is_costly else _SAMPLE)), count)
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
        if scores.right is None or own.right is None or abs(scores.right - own.right) > ties:
            return (
                f"evaluation: scored {scores.right} images right where its logits give {own.right}"
            )
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


def judged(logits: NDArray[np.float32], labels: NDArray[np.int32], *, output: str) -> Answers:
    """Return each image's cross-entropy, in float64, and whether the best guess is right.

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
    # A guess among logits that are no numbers is none.
    return Answers(losses=losses, hits=(values.argmax(axis=1) == labels) & np.isfinite(losses))


def margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far each image's best guess is before the second."""
    values = logits.astype(np.float64)
    if values.shape[1] == 1:
        return np.abs(values[:, 0])
    best = np.sort(values, axis=1)
    lead: NDArray[np.float64] = best[:, -1] - best[:, -2]
    return lead
