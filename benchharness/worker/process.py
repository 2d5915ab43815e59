"""The worker's own process: its parent's life, lack of memory, and its exit."""

from __future__ import annotations

import atexit
import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from typing import NoReturn

_PR_SET_PDEATHSIG = 1

# Names of exceptions.
_OOM_KINDS = ("MemoryError", "OutOfMemoryError", "ResourceExhaustedError")
# What allocators write, in lower case: of Python, NumPy, C++, PyTorch, TensorFlow, JAX and the
# system.
_OOM_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "failed to allocate",
    "could not allocate",
    "oom when allocating",
    "resource_exhausted",
    "bad_alloc",
    # Of CUDA, HIP and their libraries: CUDA_ERROR_OUT_OF_MEMORY, hipErrorOutOfMemory,
    # cudaErrorMemoryAllocation, CUBLAS_STATUS_ALLOC_FAILED and CUDNN_STATUS_ALLOC_FAILED.
    "out_of_memory",
    "erroroutofmemory",
    "errormemoryallocation",
    "status_alloc_failed",
)
OOM_REMEDY = "reduce batch_size or image_size"


def die_with_parent(events_fd: int) -> None:
    """Ask the kernel to kill this process when the runner is gone, however that happens.

    Where its pipe has no reader any more, the runner died before that, and the process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(events_fd, 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        os._exit(1)


def mentions_oom(text: str) -> bool:
    """Whether a text says that memory has run out."""
    lowered = text.lower()
    return any(words in lowered for words in _OOM_TEXTS)


def is_oom(error: BaseException) -> bool:
    """Whether an exception, or one that caused it, says that memory has run out."""
    cause = error.__cause__ or error.__context__
    is_named = type(error).__name__ in _OOM_KINDS
    return is_named or mentions_oom(str(error)) or (cause is not None and is_oom(cause))


def exit_process(code: int) -> NoReturn:
    """Run the exit handlers, write out what was printed, and end this process.

    With a framework loaded, Python's own shutdown takes 0.4 to 1.8 s more: it destroys every module
    and every object, although the kernel frees all of it at once. Exit handlers remove temporary
    folders and end child processes, so they run. Other threads end with the process.
    """
    try:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            # A library may have closed it, or put another in its place.
            with suppress(Exception):
                stream.flush()
        # Libraries in C and C++ buffer what they print separately.
        ctypes.CDLL(None).fflush(None)
    finally:
        os._exit(code)
