"""Whether more trials or longer ones show smaller differences, in a sentence."""

from __future__ import annotations

from benchharness.compare.sampling import Scatter


def scatter_words(label: str, scatter: Scatter) -> str:
    """Return what a cell's training scatters by, and what helps against it."""
    if not scatter.are_longer_trials_better:
        advice = "more pairs help, longer trials hardly"
    elif scatter.best_epochs is None:
        advice = "longer trials help as much as more pairs, and save starting processes"
    else:
        advice = f"longer trials help most, of about {scatter.best_epochs} epochs"
    return (
        f"{label}: B / A of training scatters by {scatter.between:.1%} between trials, and by "
        f"{scatter.of_means:.1%} for the {scatter.epochs} epochs within: {advice}"
    )
