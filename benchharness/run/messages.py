"""What the user should know of plan, data and weights before a run, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchharness.measure.sanity import is_unbalanced
from benchharness.model.conversions import in_words
from benchharness.run.adapt import changes_output, channels, needs_colour, raised_limit
from benchharness.run.dataset_info import DatasetInfo, Split
from benchharness.run.interpreters import BackendInterpreter
from benchharness.suite.plan import Cell, Plan

_NAMED = 8
_SPLITS: Mapping[Split, str] = {"train": "for training", "test": "for the test"}


def title(plan: Plan, facts: DatasetInfo) -> str:
    """Return what to write over the results."""
    if facts.is_own:
        return f"{facts.title}: {len(facts.classes)} classes, as suite {plan.suite.name} has it"
    return plan.suite.title


def plan_messages(
    plan: Plan, *, device: str, is_built_in: bool, is_profile_asked: bool
) -> Iterator[str]:
    """Yield what was decided for the user.

    Args:
        device: Its name.
        is_built_in: Whether the suite is ours, as the user named none.
        is_profile_asked: Whether the user named the profile.
    """
    suite, profile = plan.suite, plan.profile
    yield f"suite {suite.name} on {device}"
    if is_built_in:
        yield (
            "the suite is built in, as none was named; "
            "a copy to change: benchharness run --write-suite my_suite.toml"
        )
    if profile is not None:
        how = "as asked" if is_profile_asked else "chosen for this machine"
        about = suite.profiles[profile].description
        yield f"profile {profile} ({how}){f': {about}' if about else ''}"
    elif suite.profiles:
        names = ", ".join(suite.profiles)
        yield f"no profile: the suite has none for this machine (it has {names})"
    yield from _on_looks(plan)
    if plan.added:
        yield f"also running {', '.join(plan.added)}: others start from its head"
    if plan.fileless:
        names = ", ".join(plan.fileless)
        yield f"native track on prepared images, there being no image files: {names}"
    if plan.left_out:
        yield f"left out, for want of a backend: {', '.join(plan.left_out)}"


def _on_looks(plan: Plan) -> Iterator[str]:
    """Yield how many trials there will be where looks decide."""
    limits: dict[tuple[int, int], list[str]] = {}
    for cell in plan.cells:
        if cell.max_trials is not None:
            limits.setdefault((cell.trials, cell.max_trials), []).append(cell.benchmark)
    for (fewest, most), names in limits.items():
        where = "" if len(names) == len(plan.cells) else f" of {', '.join(dict.fromkeys(names))}"
        limit = f", or {plan.max_minutes:g} minutes are over" if plan.max_minutes else ""
        yield (
            f"{fewest} to {most} trials of each cell{where}, until the backends of a benchmark are "
            f"told apart or equal{limit}"
        )


def on_quarters(quarters: Mapping[str, BackendInterpreter]) -> Iterator[str]:
    """Yield which backends have an interpreter of their own, and what is in it."""
    for backend, one in quarters.items():
        interpreter = one.interpreter
        asked = f" for {', '.join(one.requirements)}" if one.requirements else ""
        yield (
            f"{backend} runs in an environment of its own{asked}: python {interpreter.python}, "
            f"{len(interpreter.packages)} packages ({interpreter.digest})"
        )


def adaptation_messages(plan: Plan, facts: DatasetInfo) -> Iterator[str]:
    """Yield in what way a plan is fitted to a dataset.

    Args:
        plan: As it was before.
        facts: Of the dataset.
    """
    if facts.is_own:
        yield f"{facts.title}: pictures of your own, {_classes(facts)}"
        yield from _on_suite(plan)
    if facts.is_lenient and not plan.takes_fewer:
        yield from _on_limits(plan, facts)
    if names := _benchmarks(plan, lambda cell: changes_output(cell, facts)):
        yield f"output softmax in place of sigmoid, for {len(facts.classes)} classes: {names}"
    if facts.channels < channels(plan, facts):
        names = _benchmarks(plan, needs_colour)
        yield f"grey pictures are given three channels, which {names} cannot do without"


def on_facts(facts: DatasetInfo) -> Iterator[str]:
    """Yield where the images are, and how their folder was read."""
    yield f"data: {facts.description}"
    yield from facts.notes


def dataset_messages(dataset: Mapping[str, Any]) -> Iterator[str]:
    """Yield what became of the images.

    Args:
        dataset: As run.json has it.
    """
    skipped: list[str] = max((part["skipped"] for part in dataset["slices"]), key=len, default=[])
    if skipped:
        named = ", ".join(skipped[:_NAMED])
        more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        yield f"left out {len(skipped)} unreadable images: {named}{more}"
    yield from (f"WARNING: made anew in the cache: {damage}" for damage in dataset["mended"])
    if leaks := dataset["leaks"]["count"]:
        test, train = dataset["leaks"]["first"][0]
        yield (
            f"WARNING: {leaks:,} pictures of the test are for training too, and flatter its "
            f'scores: {test} is {train}; on_leak = "error" in [dataset] refuses them'
        )
    if dataset["converted"]:
        yield f"converted while decoding: {in_words(dataset['converted'])}"
    if is_unbalanced(dataset["majority_share"], classes=len(dataset["classes"])):
        yield (
            "the classes are of unequal size: always guessing the largest is right on "
            f"{dataset['majority_share']:.2f} of the test images"
        )


def on_weights(weights: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield where the backbones' weights came from.

    Args:
        weights: As run.json has them; None where no benchmark has a backbone.
    """
    if weights and weights["is_random"]:
        yield f"weights: RANDOM, not pretrained: {weights['reason']}"
    elif weights:
        yield f"weights: {weights['origin']}"


def _on_suite(plan: Plan) -> Iterator[str]:
    source = plan.dataset.source
    if source not in ("folder", "flat"):
        has_figures = any(cell.published for cell in plan.cells)
        figures = "; figures published of others are left out" if has_figures else ""
        yield f"they take the place of {source}, for which the suite was written{figures}"


def _on_limits(plan: Plan, facts: DatasetInfo) -> Iterator[str]:
    fewer, more = [], []
    for split, words in _SPLITS.items():
        asked = {
            limit: raised_limit(split, cell, facts)
            for cell in plan.cells
            if (limit := getattr(cell.settings, f"{split}_images")) is not None
        }
        if asked and (found := facts.used(split, asked[max(asked)])) < max(asked):
            fewer.append(f"{found:,} of {max(asked):,} {words}")
        elif asked and (wanted := asked[min(asked)] or 0) > min(asked):
            more.append(f"{wanted:,} in place of {min(asked):,} {words}")
    if fewer:
        yield f"fewer images than the suite asks for: {', '.join(fewer)}"
    if more:
        yield f"more images than the suite asks for, as every class needs some: {', '.join(more)}"


def _classes(facts: DatasetInfo) -> str:
    count = len(facts.classes)
    if count > _NAMED:
        return f"{count} classes of {min(facts.sizes):,} to {max(facts.sizes):,}"
    named = (f"{name} ({size:,})" for name, size in zip(facts.classes, facts.sizes, strict=True))
    return f"{count} classes: {', '.join(named)}"


def _benchmarks(plan: Plan, is_meant: Callable[[Cell], bool]) -> str:
    return ", ".join(dict.fromkeys(cell.benchmark for cell in plan.cells if is_meant(cell)))
