"""An installed plugin held against the whole contract: the package, then the backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchharness.api import Setting
from benchharness.plugins import distribution, find
from benchharness.testing.checklist import PACKAGE, Item, Result
from benchharness.testing.contract_plugin import CORE, PluginContract, core_imports
from benchharness.testing.examination import Finding, examine
from benchharness.testing.examiner import Examination
from benchharness.testing.loading import framework_of, observe_loading

# The kinds of work that each strategy is made of.
STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "dataset": ("feed",),
    "simple_cnn": ("train",),
    "bottleneck": ("extract", "train"),
    "fine_tune": ("train",),
}
_ABLE = Item(
    name="strategies", title="carries out at least one strategy", checks=("feed, extract, train",)
)


@dataclass(slots=True, kw_only=True)
class PluginCheck:
    """A plugin's contract, clause by clause.

    Attributes:
        name: Of the installed plugin.
        options: For its hook.
        device: ``cpu`` or ``gpu``.
        results: Those that have come.
        refusals: Reason of the backend against each strategy that it does not carry out.
    """

    name: str
    options: Mapping[str, Setting]
    device: str = "cpu"
    results: list[Result] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether nothing of what has been examined is broken."""
        return all(result.outcome != "broken" for result in self.results)

    @property
    def strategies(self) -> list[str]:
        """Names of the strategies that the backend carries out."""
        return [name for name in STRATEGIES if name not in self.refusals]

    @property
    def distribution(self) -> str:
        """Name and version of what the plugin came with."""
        return distribution(find(self.name))

    def carry_out(self) -> Iterator[Result]:
        """Yield how each clause is kept, as it becomes known.

        Raises:
            PluginError: No plugin of that name is installed.
        """
        find(self.name)
        for result in self._clauses():
            self.results.append(result)
            yield result

    def as_dict(self) -> dict[str, Any]:
        """Return what was found as JSON knows it."""
        return {
            "plugin": self.name,
            "distribution": self.distribution,
            "is_kept": self.is_kept,
            "strategies": self.strategies,
            "refused": self.refusals,
            "items": [_plain(result) for result in self.results],
        }

    def _clauses(self) -> Iterator[Result]:
        contract = PluginContract()
        for item in PACKAGE:
            findings = [
                finding
                for check in item.checks
                for finding in examine(contract, check, plugin=self.name, options=self.options)
            ]
            yield Result(item=item, findings=tuple(findings), remark=self._remark(item))
        if observe_loading(self.name, options=self.options).error:
            # Without a backend there is nothing more to examine, and that is said above.
            return
        examination = Examination(self.name, options=self.options, device=self.device)
        yield from examination.results()
        self.refusals = _refusals(examination.refusals)
        yield self._able()

    def _able(self) -> Result:
        reasons = "; ".join(dict.fromkeys(self.refusals.values()))
        finding = Finding(
            check="strategies",
            outcome="kept" if self.strategies else "broken",
            reason="" if self.strategies else f"strategies: expected one, found none: {reasons}",
        )
        return Result(item=_ABLE, findings=(finding,), remark=", ".join(self.strategies))

    def _remark(self, item: Item) -> str:
        """Return what else is worth knowing of a clause; empty for nothing."""
        match item.name:
            case "imports":
                return _delegations(self.name)
            case "import_cost":
                return f"{observe_loading(self.name, options=self.options).import_ms:.0f} ms"
            case "missing_framework":
                needs = observe_loading(self.name, options=self.options).needs
                return framework_of(self.name, needs)
        return ""


def _delegations(name: str) -> str:
    """Return which modules of a plugin still stand on the reference, in words."""
    entry = find(name)
    if entry.module.partition(".")[0] == CORE:
        return ""
    files = sorted({found.file for found in core_imports(entry) if found.is_reference})
    return f"the reference still works in {', '.join(files)}" if files else ""


def _refusals(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return the reason against each strategy that some kind of work is missing for."""
    found = {
        strategy: next((kinds[kind] for kind in needed if kinds.get(kind)), "")
        for strategy, needed in STRATEGIES.items()
    }
    return {strategy: reason for strategy, reason in found.items() if reason}


def _plain(result: Result) -> dict[str, Any]:
    return {
        "name": result.item.name,
        "title": result.item.title,
        "outcome": result.outcome,
        "checks": len(result.findings),
        "remark": result.remark,
        "faults": {fault.check: fault.reason for fault in result.faults},
        "refusals": list(result.refusals),
    }
