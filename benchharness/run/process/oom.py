"""Telling that memory has run out, from what frameworks and systems say then."""

from __future__ import annotations

# Names of exceptions.
_KINDS = ("MemoryError", "OutOfMemoryError", "ResourceExhaustedError")
# What allocators write, in lower case: of Python, NumPy, C++, PyTorch, TensorFlow, JAX and the
# system.
_WORDS = (
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
REMEDY = "a smaller batch or image needs less (we never change it)"


def mentions_oom(text: str) -> bool:
    """Whether a text says that memory has run out."""
    lowered = text.lower()
    return any(words in lowered for words in _WORDS)


def is_oom(error: BaseException) -> bool:
    """Whether an exception, or one that caused it, says that memory has run out."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in _KINDS or mentions_oom(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
