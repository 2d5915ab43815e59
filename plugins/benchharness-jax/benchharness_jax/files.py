"""Loading image files, for which JAX has nothing of its own."""

from __future__ import annotations

from benchharness.api import Task, UnsupportedError


def refuse_files(task: Task) -> None:
    """Refuse a task whose files the backend is to load.

    Twin note: JAX has no decoder and no loader; its users take another framework's, and timing
    that would time the other framework.

    Raises:
        UnsupportedError: The task states files.
    """
    if task.files is not None:
        raise UnsupportedError(
            "input: JAX has no loader of image files of its own; "
            'set input = "prepared", or leave jax out of this benchmark'
        )
