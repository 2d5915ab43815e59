"""Strategy ``dataset``: bringing images to the device, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence

from benchharness.measure.blocks import Block, BlockTimer, best_epoch, seconds, step_percentiles
from benchharness.measure.clock import now_s
from benchharness.model.work import Batches, Feeding
from benchharness.worker.barrier import EpochBarrier
from benchharness.worker.batch_check import BatchCheck, with_fingerprints
from benchharness.worker.calibration import check_feeding
from benchharness.worker.context import TrialContext, rows_of
from benchharness.worker.progress import ProgressReporter
from benchharness.worker.summary import report_settings, report_timing, warm, warm_up_epochs


def feed(scene: TrialContext, *, epochs: int, turns: EpochBarrier) -> None:
    """Bring every training image to the device, epoch by epoch."""
    with scene.clock.phase("build"):
        task = scene.image_task(scene.workload.learner, weights={}, trainable=())
        images = scene.prepared.images
        task = scene.resident(task, images)
        task = with_fingerprints(task, steps=len(scene.epochs(images, task)[0]))
        feeding = scene.backend.feed(task)
        plan = scene.epochs(rows_of(images, feeding), task)
    report_settings(scene, task, feeding)
    ledger = BatchCheck(scene=scene, task=task, inputs=images)
    with scene.clock.phase("compile"):

        def feed_shortly() -> None:
            for batches in warm_up_epochs(plan[0]):
                feeding.feed(batches, after_step=lambda: None)
                feeding.consumed()
            feeding.synchronize()

        feed_shortly()
        warm(scene, feed_shortly)
    with scene.clock.phase("feed"):
        timed = []
        for epoch, batches in enumerate(plan, start=1):
            turns.wait()
            timed.append(_feed_epoch(scene, feeding, batches, epoch, ledger))
            taken = sum(block.steps for block in timed[-1])
            ledger.count(f"epoch {epoch}: batches", taken, planned=len(batches))
    ledger.report()
    blocks = [block for epoch in timed for block in epoch]
    feed_s = seconds(blocks)
    scene.clock.keep("feed", feed_s, rest="overhead")
    check_feeding(scene, task, feeding, timed, plan[0])
    count = len(scene.prepared.splits["train"]) * epochs
    scene.metrics.update(step_percentiles(blocks))
    scene.metrics["feed_images_per_s"] = count / feed_s
    scene.metrics["epoch_s"] = feed_s / epochs
    scene.metrics["best_epoch_s"] = best_epoch(timed)


def _feed_epoch(
    scene: TrialContext, feeding: Feeding, batches: Batches, epoch: int, ledger: BatchCheck
) -> Sequence[Block]:
    advance = ProgressReporter.of(scene, phase="feed", images=len(scene.prepared.splits["train"]))
    timer = BlockTimer(
        synchronize=feeding.synchronize,
        now=now_s,
        on_edge=lambda blocks: advance.at_edge(epoch, blocks),
    )
    report_timing(scene, True)
    timer.start(steps=len(batches))
    feeding.feed(batches, after_step=timer.step)
    # Reading back is a wait that no backend can fail to make; it is part of the epoch.
    consumed = feeding.consumed()
    blocks = timer.stop()
    report_timing(scene, False)
    ledger.enter(epoch, batches, consumed)
    shown = [[block.steps, block.seconds] for block in blocks]
    scene.emit({"event": "blocks", "epoch": epoch, "blocks": shown})
    return blocks
