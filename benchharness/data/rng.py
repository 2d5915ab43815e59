"""Random draws that come out the same on every machine, in streams that never meet."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a generator is for; equal seeds in two streams give independent numbers."""

    ORDER = 0
    AUGMENTATION = 1
    VALIDATION = 2
    TEST_SPLIT = 3


def generator(stream: Stream, *, seed: int, epoch: int = 0) -> np.random.Generator:
    """Return the generator that depends on these three numbers and on nothing else.

    Source:
        Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). The stream
        sits in the counter's highest word, which no draw of ours can carry into.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
