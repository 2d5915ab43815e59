"""Rates of a device in plain PyTorch: matrix products, copies, launches.

python tools/gpu_first/peak.py --device gpu

prints a line for each, random operands, the median of repeats that last 0.2 s together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

SPENT_S = 0.2


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", required=True, choices=["cpu", "gpu"])
    is_gpu = parser.parse_args().device == "gpu"
    device = torch.device("cuda" if is_gpu else "cpu")
    print(torch.cuda.get_device_properties(0) if is_gpu else "cpu")

    def wait() -> None:
        if is_gpu:
            torch.cuda.synchronize()

    size = 8192 if is_gpu else 512
    for name, dtype, has_tf32 in (
        ("bfloat16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = has_tf32
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        # Ten at a time, so that launching is hidden as it is in training.
        seconds = median_s(lambda a=left, b=right: [a @ b for _ in range(10)], wait) / 10
        print(f"{name:9} product of {size}^3: {2 * size**3 / seconds / 1e12:10.3f} TFLOP/s")
    count = 2**30 if is_gpu else 2**24
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = median_s(lambda: target.copy_(source), wait)
    print(f"copy on the device:           {2 * count / seconds / 1e9:10.1f} GB/s, read and written")
    # A batch of 50 images of 150 pixels, as a step copies it.
    batch = torch.randint(0, 255, (50, 150, 150, 3), dtype=torch.uint8)
    for name, images in (("pageable", batch), ("pinned", batch.pin_memory() if is_gpu else batch)):
        seconds = median_s(lambda a=images: a.to(device, copy=True, non_blocking=True), wait)
        print(f"batch from {name:8} memory:   {1e3 * seconds:10.3f} ms")
    scalar = torch.ones(1, device=device)
    seconds = median_s(lambda: [scalar.add_(1) for _ in range(1000)], wait) / 1000
    print(f"launch of a small operation:  {1e6 * seconds:10.2f} us")


def median_s(work: Callable[[], object], wait: Callable[[], None]) -> float:
    """Return the seconds that some work takes until the device is done with it."""
    taken: list[float] = []
    # The first ones wake the device, whose clock idles low.
    until_s = time.perf_counter() + SPENT_S
    while time.perf_counter() < until_s:
        work()
        wait()
    while len(taken) < 3 or sum(taken) < SPENT_S:
        began_s = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
