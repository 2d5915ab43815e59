"""Meters: memory, energy, utilisation and clock are measured, and plausible.

python tools/gpu_first/meters.py RESULTS --device gpu

reads the latest run in a suite's folder of results and exits with 1 where something is missing.
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd

import benchharness

HOST = {"peak_host_bytes": (1e8, 1e12), "cpu_s": (0.01, 1e6)}
# Lowest and highest value to believe.
GPU = {
    "peak_device_bytes": (3e8, 3e11),
    "device_utilization": (0.2, 1.0),
    "device_clock_mhz": (400.0, 4000.0),
    "peak_flops_per_s": (1e13, 1e16),
    "fraction_of_peak": (0.005, 1.0),
}
# A GPU draws between 50 and 1,500 W while it trains.
WATTS = (50.0, 1500.0)


def main() -> None:
    """Print a line for each figure of each trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="folder of a suite's runs")
    parser.add_argument("--device", required=True, choices=["cpu", "gpu"])
    options = parser.parse_args()
    trials = benchharness.load_results(options.results)
    trials = trials[trials["status"] == "ok"]
    wanted = {**HOST, **(GPU if options.device == "gpu" else {})}
    doubts = 0
    for _, trial in trials.iterrows():
        power = trial.get("energy_j") / trial["train_s"]
        print(
            f"{trial['backend']}: {trial['train_s']:.2f} s of training, {power:.0f} W by "
            f"{trial.get('energy_source')}, throttled: {trial.get('throttled')}"
        )
        ranges = {name: (trial.get(name), *bounds) for name, bounds in wanted.items()}
        if options.device == "gpu":
            ranges["energy_j / train_s"] = (power, *WATTS)
        for name, (value, low, high) in ranges.items():
            is_plausible = pd.notna(value) and low <= value <= high
            doubts += not is_plausible
            print(f"  {name} = {value}" + ("" if is_plausible else f": expected {low} to {high}"))
    if trials.empty:
        sys.exit(f"{options.results}: expected a trial that is ok, found none")
    print(f"{doubts} of {len(trials) * len(ranges)} figures are missing or implausible")
    sys.exit(doubts > 0)


if __name__ == "__main__":
    main()
