"""Whether the real data and the real weights of a suite can be had."""

from __future__ import annotations

from dataclasses import dataclass

from benchharness.errors import DatasetError, SuiteError, WeightsError
from benchharness.run.inputs import SearchPaths, find_listing, find_weights
from benchharness.suite.file import SuiteFile
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import resolve
from benchharness.suite.settings import TransferSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """What of a suite's real things is on this machine.

    Attributes:
        has_data: Whether the dataset is there; True where the suite wants drawn pictures.
        has_weights: Whether all pretrained weights are; True where the suite wants none.
        reasons: Why something is not, a sentence each.
    """

    has_data: bool
    has_weights: bool
    reasons: tuple[str, ...] = ()


def check_availability(
    suite: SuiteFile,
    places: SearchPaths,
    *,
    backends: tuple[str, ...] = (),
    benchmarks: tuple[str, ...] = (),
) -> Availability:
    """Return whether the data and the weights that a suite wants, without a profile, can be had.

    What can be downloaded is downloaded, where ``places`` allows it; without a network that costs
    seconds, once.

    Args:
        suite: As loaded.
        places: Where to look.
        backends: As the user asks for; empty for the suite's.
        benchmarks: As the user asks for; empty for all.

    Raises:
        SuiteError: The suite has nothing to run without a profile, or an unknown name is asked for.
    """
    plan = resolve(suite, profile=None, backends=backends, benchmarks=benchmarks)
    # Weights first: they are small, and tell soonest that there is no network.
    weights, data = _missing_weights(plan, places), _missing_data(plan, places)
    return Availability(has_data=not data, has_weights=not weights, reasons=(*data, *weights))


def has_real_weights(
    suite: SuiteFile,
    places: SearchPaths,
    *,
    backends: tuple[str, ...] = (),
    benchmarks: tuple[str, ...] = (),
) -> bool:
    """Return whether all pretrained weights that a suite wants can be had; no data are looked for.

    True where it cannot tell, for a suite that has nothing to run without a profile.
    """
    try:
        plan = resolve(suite, profile=None, backends=backends, benchmarks=benchmarks)
    except SuiteError:
        return True
    return not _missing_weights(plan, places)


def _missing_data(plan: Plan, places: SearchPaths) -> list[str]:
    if plan.dataset.source == "drawn" and places.data is None:
        return []
    try:
        find_listing(plan, places=places, fallback=None)
    except DatasetError as error:
        return [str(error)]
    return []


def _missing_weights(plan: Plan, places: SearchPaths) -> list[str]:
    wanted = [cell.settings for cell in plan.cells if isinstance(cell.settings, TransferSettings)]
    missing: dict[str, None] = {}
    for settings in wanted:
        try:
            find_weights(plan, settings, places=places, fallback=None)
        except WeightsError as error:
            missing[str(error)] = None
    return list(missing)
