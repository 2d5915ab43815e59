"""Loading image files, for which JAX has nothing of its own."""

from __future__ import annotations

from benchharness.api import Task, UnsupportedError


def build_loader(task: Task) -> None:
    """Return None, for a task whose batches bring their images along.

    Twin note: JAX has no decoder and no loader. Its users take those of another framework, and
    timing these would time that framework.

    Raises:
        UnsupportedError: The task states files.
    """
    if task.files is not None:
        raise UnsupportedError(
            "input: JAX has no loader of image files; "
            'set input = "prepared", or leave jax out of this benchmark'
        )
