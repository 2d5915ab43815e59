"""The record of one finished trial, as it stands in records.jsonl.

A record is a JSON object. Absent or null means unknown; a number is never put in its place.

- ``format``: 1.
- ``id``: digest of all that decides the trial's outcome; a trial run again keeps its id.
- ``benchmark``, ``strategy``, ``backend``, ``track``: names.
- ``matrix``: setting to value, the point of the benchmark's matrix; empty without a matrix.
- ``trial``, ``seed``: integers; trials count from 1.
- ``status``: ``ok``, ``failed``, ``timeout``, ``oom``, ``diverged`` or ``skipped``.
- ``reason``: why it is not ok; else empty.
- ``flags``: what looks wrong with its numbers, from ``benchharness.measure.sanity``.
- ``settings``, ``effective``, ``versions``: what was asked, what the framework says it did (flat,
  named as in ``Work.settings``), and which versions did it.
- ``proof``: the verdict on this trial: ``proven``, ``partial: WHAT (HOW FAR)`` or ``not
  comparable: WHY``; empty when nobody asked for one.
- ``proofs``: other backend to the verdict on the pair, this trial's ledger and settings included.
- ``ledger``: ``verdict`` (``as planned``, or what is not), ``epochs``, ``steps`` and ``digest`` of
  the batches that were really consumed.
- ``blocks``: a list of ``[epoch, steps, seconds]``, the stretches of steps that were timed.
- ``metrics``: see ``METRICS`` in ``benchharness.results.columns``.
- ``epochs``: one object per epoch, see ``EPOCH`` there.
- ``classes``, ``test_count``, ``validation_count``: integers.
- ``published``: ``top1``, ``epoch_s`` and ``note`` of the source that the benchmark reproduces.
- ``log``: path below the run folder. ``started``: UTC, ISO 8601.
"""

from __future__ import annotations

import math
from typing import Any

FORMAT = 1

Record = dict[str, Any]


def without_nan(value: Any) -> Any:
    """Return JSON-like data with null in place of NaN and infinities, for which JSON has no word.

    The trial's status (``diverged``) tells that such a number was met.
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
