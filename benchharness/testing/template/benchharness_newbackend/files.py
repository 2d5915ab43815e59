"""Loading image files by the framework's own loader."""

from __future__ import annotations

from benchharness.api import Task, UnsupportedError


def refuse_files(task: Task) -> None:
    """Refuse a task whose images are to be loaded from files.

    Raises:
        UnsupportedError: The task states files. A backend with a loader of its own loads the files
            of ``task.files`` here, in the order of the batches' ids.
    """
    if task.files is not None:
        raise UnsupportedError("input: newbackend has no loader of files yet; use prepared images")
