"""Trials that are carried on bit by bit: alone, or several in turn, of which one is at work."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")
# Stops wherever another may be at work, and returns what came of it. Closed before its end, it
# ends what it has started.
Course = Generator[None, None, T]


def run_to_completion(course: Course[T]) -> T:
    """Carry on a course until it ends, and return what came of it."""
    return run_interleaved([course])[0]


def run_interleaved(courses: Sequence[Course[T]]) -> list[T]:
    """Carry on courses until all have ended, each up to its next stop, every other round reversed.

    Of two that is A B, B A, ...: what changes steadily, and what lasts for longer than a stretch,
    hits both alike. Where one raises, the others are ended.
    """
    ended: dict[int, T] = {}
    waiting = list(enumerate(courses))
    with ExitStack() as started:
        for course in courses:
            started.callback(course.close)
        while waiting:
            for place, course in waiting:
                try:
                    next(course)
                except StopIteration as end:
                    ended[place] = end.value
            waiting = [one for one in reversed(waiting) if one[0] not in ended]
    return [ended[place] for place in range(len(courses))]
