"""Loading image files by the framework's own loader."""

from __future__ import annotations

from benchharness.api import Task, UnsupportedError


def build_loader(task: Task) -> None:
    """Return what loads the task's files: nothing yet, for batches bring their images along.

    A loader would read ``task.files`` in the order of the batches' ids, and hand on the batches
    with uint8 inputs.

    Raises:
        UnsupportedError: The task states files.
    """
    if task.files is not None:
        raise UnsupportedError("input: newbackend has no loader of files yet; use prepared images")
