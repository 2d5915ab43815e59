"""Checks by the core of what a trial has done: the batches it consumed, and its scores."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import epoch_order
from benchharness.errors import PluginError
from benchharness.fairness.ledger import TOLERANCE, BatchLedger
from benchharness.model.host import preprocess_on_host, warp_on_host
from benchharness.model.task import Batch, ConsumedBatches, Execution, Optimizer, Scores, Task
from benchharness.model.work import Batches, Training
from benchharness.plugins import REFERENCE, installed, load_backend
from benchharness.worker.context import TrialContext

# Two decoders differ by a level of 255 here and there; another image by all it shows.
_FILES_TOLERANCE = 0.05
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


class BatchCheck:
    """Compares what a backend consumed with the plan, epoch by epoch; epochs count from 1."""

    def __init__(
        self, context: TrialContext, task: Task, inputs: NDArray[Any], plan: Sequence[Batches]
    ) -> None:
        self._context, self._plan, self._digest = context, plan, hashlib.sha256()
        splits = context.prepared.splits
        # Not the length of an epoch's batches: making these is part of compiling.
        steps = -(-len(splits["train"]) // context.settings.batch_size)
        self._planned = {
            "batches": steps,
            "steps": steps,
            "images trained on": len(splits["train"]),
            "images validated": len(splits["validation"]),
        }

        def as_inputs(batch: Batch) -> NDArray[np.float32]:
            """Return what the network must see, by the plain definitions of the core."""
            images = inputs[batch.ids]
            if batch.warp is not None:
                images = warp_on_host(images, batch.warp)
            values: NDArray[np.float32] = images.astype(np.float32)
            return preprocess_on_host(values, task.preprocessing) if task.preprocessing else values

        assert task.fingerprint_spec is not None
        self._ledger = BatchLedger(
            spec=task.fingerprint_spec,
            as_inputs=None if task.files and task.files.folder else as_inputs,
            tolerance=TOLERANCE if task.files is None else _FILES_TOLERANCE,
        )

    def check_epoch(self, epoch: int, consumed: ConsumedBatches) -> None:
        """Compare the record of an epoch with the plan."""
        context = self._context
        with context.clock.phase("ledger"):
            train, size = context.prepared.splits["train"], context.settings.batch_size
            order = epoch_order(train, seed=context.request.seed, epoch=epoch)

            def labels(index: int) -> NDArray[np.int32]:
                batch: NDArray[np.int32] = context.prepared.labels[order[index * size :][:size]]
                return batch

            self._ledger.check(self._plan[epoch - 1], consumed, labels=labels)
            self._digest.update(np.ascontiguousarray(consumed.labels).tobytes())

    def compare_counts(self, epoch: int, counts: Mapping[str, int]) -> None:
        """Compare an epoch's numbers of steps and images with the plan."""
        for what, count in counts.items():
            if count != self._planned[what]:
                self.note(f"epoch {epoch}: {what}: {count} of {self._planned[what]}")

    def note(self, trouble: str) -> None:
        """Add what was not as planned; empty for nothing."""
        if trouble:
            self._ledger.deviations.append(trouble)

    def report(self) -> None:
        """Report the verdict to the runner."""
        self._context.emit(
            {
                "event": "ledger",
                "verdict": self._ledger.verdict,
                "epochs": self._ledger.epochs,
                "steps": self._ledger.steps,
                "digest": self._digest.hexdigest()[:16],
            }
        )


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


def answers_to(batches: Batches, *, training: Training, output: str) -> Answers:
    """Run every batch, at least one, through the network and judge its logits."""
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


def judged(logits: NDArray[np.float32], labels: NDArray[np.int32], *, output: str) -> Answers:
    """Return each image's cross-entropy, in float64, and whether the best guess is right."""
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


def score_trouble(
    training: Training,
    task: Task,
    batches: Batches,
    answers: Answers,
    *,
    seconds: float,
    flops: float,
) -> str:
    """Return what is wrong with the scores that a backend gives of a sample; empty for nothing.

    The core has scored all batches in so many seconds; an image takes so many FLOPs.
    """
    is_costly = _SAMPLE * seconds / len(batches) > _SAMPLE_S
    first = max(0, len(batches) - (1 if is_costly else _SAMPLE))
    try:
        sample = [batches[place] for place in range(first, len(batches))]
        return _trouble(training, task, sample, answers, flops=flops)
    except Exception as error:
        # A full device may have no room for it. What has been measured stays, unproven; the
        # traceback is in the log.
        traceback.print_exc()
        return f"evaluation: could not be checked ({type(error).__name__})"


def _trouble(
    training: Training, task: Task, sample: Sequence[Batch], answers: Answers, *, flops: float
) -> str:
    tolerance, count = _TOLERANCE[task.execution.precision], sum(map(len, sample))
    own = Answers(losses=answers.losses[-count:], hits=answers.hits[-count:]).scores
    scores, logits = training.evaluate(sample), answers.logits[-len(sample) :]
    if scores.count != own.count:
        return f"evaluation: scored {scores.count} of {own.count} images"
    # A logit that is off by so much moves the loss by no more.
    if not abs(scores.loss - own.loss) <= tolerance * max(1.0, own.loss):
        return (
            f"evaluation: scored a loss of {scores.loss:.4g} where its logits give {own.loss:.4g}"
        )
    ties = sum(int((margins(rows) <= tolerance).sum()) for rows in logits)
    if scores.right is None or own.right is None or abs(scores.right - own.right) > ties:
        return f"evaluation: scored {scores.right} images right where its logits give {own.right}"
    # Logits against the reference's, by the backend's own weights.
    images = min(_REFERENCE_IMAGES, len(sample[-1]), int(_REFERENCE_FLOPS / flops))
    values = sum(int(np.prod(p.shape)) for p in task.network.parameters().values())
    if REFERENCE not in installed() or not images or values > _REFERENCE_VALUES:
        return ""
    reference = load_backend(REFERENCE, options={}).train(
        replace(
            task,
            weights=training.weights(),
            execution=Execution(device="cpu", threads=task.execution.threads),
            # No step is taken, so any optimizer will do; in the native track the task has none.
            optimizer=Optimizer(name="sgd", lr=0.0),
            native=None,
            files=None,
            fingerprint_spec=None,
        )
    )
    wanted = reference.logits(sample[-1].take(slice(images)))
    off = float(np.abs(wanted - logits[-1][:images]).max()) / max(float(np.abs(wanted).max()), 1.0)
    if off <= tolerance:
        return ""
    return f"evaluation: its logits are {off:.1e} off those that its weights give"
