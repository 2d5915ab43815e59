"""Strategy ``dataset``: bringing images to the device, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence

from benchharness.measure.blocks import Block, BlockTimer, best_epoch, seconds, step_percentiles
from benchharness.measure.clock import now_s
from benchharness.model.work import Batches, Feeding
from benchharness.worker.batch_check import BatchCheck, with_fingerprints
from benchharness.worker.calibration import check_feeding
from benchharness.worker.context import TrialContext, rows_of
from benchharness.worker.progress import EpochBarrier, ProgressReporter
from benchharness.worker.training_loop import warmup_epochs


def feed(context: TrialContext, *, epochs: int, barrier: EpochBarrier) -> None:
    """Bring every training image to the device, epoch by epoch."""
    with context.clock.phase("build"):
        task = context.image_task(context.workload.learner, weights={}, trainable=())
        images = context.prepared.images
        task = context.resident(task, images)
        task = with_fingerprints(task, steps=len(context.epochs(images, task)[0]))
        feeding = context.backend.feed(task)
        plan = context.epochs(rows_of(images, feeding), task)
    context.report_settings(task, feeding)
    check = BatchCheck(context=context, task=task, inputs=images)
    with context.clock.phase("compile"):

        def feed_shortly() -> None:
            for batches in warmup_epochs(plan[0]):
                feeding.feed(batches, after_step=lambda: None)
                feeding.consumed()
            feeding.synchronize()

        feed_shortly()
        context.warm_device(feed_shortly)
    with context.clock.phase("feed"):
        timed = []
        for epoch, batches in enumerate(plan, start=1):
            barrier.wait()
            timed.append(_feed_epoch(context, feeding, batches, epoch, check))
            taken = sum(block.steps for block in timed[-1])
            check.compare_count(f"epoch {epoch}: batches", taken, planned=len(batches))
    check.report()
    blocks = [block for epoch in timed for block in epoch]
    feed_s = seconds(blocks)
    context.clock.keep("feed", feed_s, rest="overhead")
    check_feeding(context, task, feeding, timed, plan[0])
    count = len(context.prepared.splits["train"]) * epochs
    context.metrics.update(step_percentiles(blocks))
    context.metrics["feed_images_per_s"] = count / feed_s
    context.metrics["epoch_s"] = feed_s / epochs
    context.metrics["best_epoch_s"] = best_epoch(timed)


def _feed_epoch(
    context: TrialContext, feeding: Feeding, batches: Batches, epoch: int, check: BatchCheck
) -> Sequence[Block]:
    progress = ProgressReporter.of(
        context, phase="feed", images=len(context.prepared.splits["train"])
    )
    timer = BlockTimer(
        synchronize=feeding.synchronize,
        now=now_s,
        on_edge=lambda blocks: progress.at_edge(epoch, blocks),
    )
    context.report_timing(True)
    timer.start(steps=len(batches))
    feeding.feed(batches, after_step=timer.step)
    # Reading back is a wait that no backend can fail to make; it is part of the epoch.
    consumed = feeding.consumed()
    blocks = timer.stop()
    context.report_timing(False)
    check.check_epoch(epoch, batches, consumed)
    shown = [[block.steps, block.seconds] for block in blocks]
    context.emit({"event": "blocks", "epoch": epoch, "blocks": shown})
    return blocks
