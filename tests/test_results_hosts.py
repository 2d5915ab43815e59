"""Several hosts and kinds of machines in one run: what is compared, and how it is told."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_runs import RUN
from report_runs import trial as whole_trial
from results_records import record
from suite_files import suite_of

from benchharness.compare.recorded import RecordedOptions, compare_recorded
from benchharness.compare.targets import RecordedRun
from benchharness.history.runs import Choice, read_runs
from benchharness.measure.sequential import rule_for
from benchharness.measure.statistics import Ratio, mean_ratio, paired_ratio
from benchharness.report.html.page import write_report
from benchharness.report.markdown import markdown
from benchharness.report.notes import notes_of
from benchharness.report.pairs import Family
from benchharness.report.rows import Row, backends_of, rows_of
from benchharness.report.summary import answers_of
from benchharness.report.table import plain_text
from benchharness.results.cells import cells_of
from benchharness.results.comparisons import BackendPair, comparisons_of
from benchharness.results.journal import append
from benchharness.results.record import disturbed_count, with_one_peak
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import summary_rows, write_csv_files
from benchharness.run.stopping import LineLook, look_at, next_round
from benchharness.suite.resolve import resolve

EPYC = "AMD EPYC, 2 cores, Linux x86_64"
XEON = "Intel Xeon, 4 cores, Linux x86_64"
FASTER, BASE = (118.0, 119.0, 120.0), (100.0, 100.0, 101.0)
SUITE = """
name = "pets"
backends = ["keras", "torch"]
[dataset]
source = "drawn"
[[benchmark]]
name = "simple_cnn"
strategy = "simple_cnn"
"""


def turns(
    torch: Sequence[float] = FASTER,
    keras: Sequence[float] = BASE,
    *,
    host: str = "a",
    machine: str = EPYC,
    first: int = 1,
    benchmark: str = "simple_cnn",
    at: str = "10",
    second: int = 0,
) -> list[dict[str, Any]]:
    """Return trials of both backends that took turns on a host, a minute each, from this hour."""
    records = []
    for place, rates in enumerate(zip(keras, torch, strict=True)):
        for side, (backend, rate) in enumerate(zip(("keras", "torch"), rates, strict=True)):
            other = {"keras": "torch", "torch": "keras"}[backend]
            records.append(
                record(
                    benchmark,
                    backend,
                    trial=first + place,
                    metrics={"train_images_per_s": rate, "wall_s": 59.0},
                    started=f"2026-11-23T{at}:{2 * place + side:02}:{second:02}Z",
                    host=host,
                    machine=machine,
                    proof="proven",
                    proofs={other: "proven"},
                )
            )
    return records


def table(records: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows of the table."""
    return rows_of(records, backends_of({}, records))


def comparison(records: Sequence[dict[str, Any]]) -> BackendPair:
    """Return the only comparison of some records."""
    (found,) = comparisons_of(cells_of(records))
    return found


def run_folder(path: Path, records: Sequence[dict[str, Any]]) -> RunFolder:
    """Return the folder of a run with some records."""
    path.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(records):
        append(path / "records.jsonl", one | {"id": f"{number}"})
    run = RunFolder.open(path)
    run.write_run(RUN | {"machine": EPYC})
    return run


def test_trials_on_another_host_at_the_same_time_are_no_interruption():
    """Two hosts work at once, each in turns; on one host the same trials tear the turns apart."""
    on_two = turns(host="a") + turns(host="b", first=4, second=30)
    on_one = turns(host="a") + turns(host="a", first=4, second=30)

    assert (len(comparison(on_two).couples), comparison(on_two).apart) == (6, 0)
    assert (len(comparison(on_one).couples), comparison(on_one).apart) == (0, 6)


def test_an_answer_says_how_many_hosts_are_behind_it():
    """Beside the number of trials: few hosts make a wide interval."""
    two = turns() + turns((118.0, 121.0, 122.0), host="b", first=4)

    (answer,) = answers_of(table(two))

    assert "torch trains 1.19x faster than keras (95 % CI 1.1" in answer
    assert ", 6 trials on 2 hosts)" in answer


def test_two_hosts_make_no_pair():
    """Of four indices one ran on both hosts: it is left out, counted, and said."""
    split = turns((500.0,), (100.0,), first=4, at="11")
    split[1]["host"] = "b"
    records = turns() + split

    (answer,) = answers_of(table(records))

    assert len(comparison(records).couples) == 3
    assert comparison(records).on_two_hosts == 1
    assert "torch trains 1.19x faster than keras" in answer
    assert "1 trial of each side excluded, because they ran on different hosts" in answer


def test_backends_on_hosts_of_their_own_have_no_ratio():
    """Whatever the times are, and the row says why."""
    records = turns()
    for one in records:
        one["host"] = one["backend"]

    (answer,) = answers_of(table(records))

    expected = "no ratio of keras and torch, because their trials ran on different hosts"
    assert answer == f"simple_cnn: {expected}"


def test_records_without_a_host_are_of_one():
    """Older records name none, beside null."""
    records = turns()
    for one in records:
        del one["host"], one["machine"]
    records[0]["host"] = None

    assert len(comparison(records).couples) == 3


def test_sides_that_ran_at_different_times_are_compared_host_by_host():
    """Torn turns on two hosts, ten times as fast as each other: within each the ratio is 1.2."""
    records = []
    for number, host in enumerate("ab"):
        of_host = turns(
            tuple(10.0**number * rate for rate in (120.0, 121.0, 119.0)),
            tuple(10.0**number * rate for rate in (100.0, 101.0, 99.0)),
            host=host,
            first=1 + 3 * number,
        )
        for one in of_host:
            if one["backend"] == "torch":
                one["started"] = one["started"].replace("T10", "T15")
        records += of_host

    (row,) = table(records)
    (pair,) = Family.of([row]).pairs[row.name]

    assert pair.is_separate_run
    assert pair.ratio().times == pytest.approx(
        1.2 if pair.a.backend == "torch" else 1 / 1.2, rel=1e-3
    )
    assert "ran at different times, so no winner is named" in answers_of([row])[0]


def test_one_kind_of_machine_changes_nothing():
    """The report is that of records that name neither host nor machine."""
    named = turns() + turns(benchmark="fine_tune", at="12")
    nameless = [
        {key: value for key, value in one.items() if key not in ("host", "machine")}
        for one in named
    ]

    assert plain_text(RUN, named) == plain_text(RUN, nameless)
    assert markdown(RUN, named) == markdown(RUN, nameless)


def test_kinds_of_machines_have_rows_and_answers_apart():
    """Named by what differs: torch is faster on one, keras on the other."""
    records = turns() + turns(BASE, FASTER, host="b", machine=XEON)

    rows = table(records)

    assert [row.name for row in rows] == [
        "simple_cnn on AMD EPYC, 2 cores",
        "simple_cnn on Intel Xeon, 4 cores",
    ]
    first, second = answers_of(rows)
    assert first.startswith("simple_cnn on AMD EPYC, 2 cores: torch trains 1.19x faster than keras")
    assert second.startswith("simple_cnn on Intel Xeon, 4 cores: keras trains 1.19x faster than")


@pytest.mark.parametrize(
    ("machines", "names"),
    [
        (("epyc, 2 cores, Linux", "epyc, 4 cores, Linux"), ["2 cores", "4 cores"]),
        (("epyc, 2 cores", "epyc, 2 cores, L4"), ["epyc, 2 cores", "L4"]),
        (("epyc, L4", "epyc, L4, L4"), ["epyc, L4", "epyc, L4, L4"]),
        (("big", "small"), ["big", "small"]),
        (("big", "small", None), ["big", "small", "an unknown machine"]),
    ],
)
def test_a_kind_of_machine_is_named_by_what_others_lack(machines, names):
    """The whole name where nothing is left, or where two would be alike."""
    records = [record(host=str(number), machine=m) for number, m in enumerate(machines)]

    assert [row.machine for row in table(records)] == names


def test_older_records_of_a_run_are_of_its_only_machine():
    """A run that an older version began has one row."""
    records = turns()
    del records[0]["machine"]

    assert len(table(records)) == 1


def test_overall_answers_are_by_kind_of_machine():
    """Two benchmarks on two kinds: two overall answers, and twice the comparisons."""
    one = [*turns(), *turns(benchmark="fine_tune", at="12")]
    other = [
        *turns(BASE, FASTER, host="b", machine=XEON),
        *turns(BASE, FASTER, host="b", machine=XEON, benchmark="fine_tune", at="12"),
    ]

    overall = [answer for answer in answers_of(table(one + other)) if answer.startswith("overall")]

    assert [answer.partition(" in ")[0].partition(" trains")[0] for answer in overall] == [
        "overall on AMD EPYC, 2 cores: torch",
        "overall on Intel Xeon, 4 cores: keras",
    ]
    assert Family.of(table(one)).size == 3
    assert Family.of(table(one + other)).size == 6


def test_the_page_leads_with_each_overall_answer(tmp_path: Path):
    """Each with its kind of machine, and no row mixes two."""
    records = [
        whole_trial(benchmark, backend, number, rate, machine=machine, host=machine[:3])
        for machine in (EPYC, XEON)
        for benchmark in ("cnn", "tune")
        for backend, rates in (("keras", BASE), ("torch", FASTER))
        for number, rate in enumerate(rates, start=1)
    ]
    run = run_folder(tmp_path, records)

    write_report(run)

    page = next(tmp_path.glob("*.html")).read_text(encoding="utf-8")
    for name in ("AMD EPYC, 2 cores", "Intel Xeon, 4 cores"):
        assert f'<p class="lead">overall on {name}: torch trains' in page
        assert f"tune on {name}" in page


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ({"a": EPYC}, None),
        ({"a": EPYC, "b": EPYC}, f"a (6 trials), b (6 trials), both {EPYC}"),
        (
            {"a": EPYC, "b": EPYC, "c": EPYC},
            f"a (6 trials), b (6 trials), c (6 trials), all {EPYC}",
        ),
        ({"a": EPYC, "b": XEON}, f"a (6 trials), {EPYC}; b (6 trials), {XEON}"),
    ],
)
def test_hosts_are_listed_where_there_are_several(hosts, text):
    """With their trials and kind, below the table."""
    records = [
        one
        for number, (host, machine) in enumerate(hosts.items())
        for one in turns(host=host, machine=machine, first=1 + 3 * number)
    ]

    notes = {note.label: note.text for note in notes_of({}, table(records))}

    assert notes.get("hosts") == text


def test_a_cell_is_unstable_only_within_a_host():
    """Hosts that differ are no reason to close programs; trials of one host that differ are."""
    fast, wild = tuple(2 * rate for rate in BASE), (100.0, 150.0, 60.0)
    steady = turns(BASE, BASE) + turns(fast, fast, host="b", first=4)
    restless = turns(BASE, BASE) + turns(wild, fast, host="b", first=4)

    notes = [
        [n.text for n in notes_of({}, table(r)) if n.label == "unstable"]
        for r in (steady, restless)
    ]

    assert notes[0] == []
    (text,) = notes[1]
    assert text.startswith("simple_cnn (torch): from 60.0 to 150.0 images/s over 3 trials on b,")


def test_a_peak_is_of_its_kind_of_machine():
    """The best product of the fast machine is no limit of the slow one."""
    flops = {"train_images_per_s": 1.0, "train_flops_per_image": 50.0, "peak_source": "numpy"}
    records = [
        record(machine=machine, metrics=flops | {"peak_flops_per_s": peak})
        for machine, peak in ((EPYC, 100.0), (XEON, 1000.0))
    ]

    shares = [one["metrics"]["fraction_of_peak"] for one in with_one_peak(records)]

    assert shares == [0.5, 0.05]


def test_a_machine_is_busy_by_its_own_cores():
    """0.7 cores are more than a quarter of two, and less than one of four."""
    records = [record(machine=m, metrics={"foreign_cores": 0.7}) for m in (EPYC, XEON, "rented")]

    assert [disturbed_count([one], 2) for one in records] == [1, 0, 1]


def test_the_summary_has_a_row_for_each_kind(tmp_path: Path):
    """The column is there for older records too, and empty."""
    records = turns() + turns(host="b", machine=XEON)

    write_csv_files(tmp_path, records)
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert [(row["backend"], row["machine"], row["trials"]) for row in rows] == [
        ("keras", EPYC, "3"),
        ("torch", EPYC, "3"),
        ("keras", XEON, "3"),
        ("torch", XEON, "3"),
    ]
    assert summary_rows([record()])[0]["machine"] == ""


def test_a_comparison_of_recorded_backends_is_by_kind_of_machine(tmp_path: Path):
    """The cells of two kinds are no twins."""
    fast, slow = 2 * FASTER, 2 * BASE
    records = turns(fast, slow) + turns(slow, fast, host="b", machine=XEON)
    run = run_folder(tmp_path, records)

    found = compare_recorded(
        RecordedRun(label="keras", run=run, backend="keras"),
        RecordedRun(label="torch", run=run, backend="torch"),
        RecordedOptions(columns=("train_images_per_s",)),
    )

    assert [(cell.label, cell.identity["machine"]) for cell in found.cells] == [
        (f"simple_cnn on {EPYC}", EPYC),
        (f"simple_cnn on {XEON}", XEON),
    ]
    sides = [verdict for cell in found.cells for verdict in cell.verdicts]
    assert all(verdict.is_paired for verdict in sides)
    assert [verdict.word for verdict in sides] == ["faster", "slower"]


def test_history_joins_points_of_one_kind(tmp_path: Path):
    """The condition is the machine of the cell, not that of the run."""
    run_folder(tmp_path / "pets" / "run", turns() + turns(host="b", machine=XEON))

    readings = read_runs([tmp_path / "pets"], Choice()).readings

    assert [one.terms.machine for one in readings] == [EPYC, EPYC, XEON, XEON]


def line_look(tmp_path: Path, records: list[dict[str, Any]]) -> LineLook:
    """Return the look at the only line of a suite whose number of trials is ``auto``."""
    (found,) = look_at(resolve(suite_of(tmp_path, SUITE), profile=None), records, spent_s=0)
    return found


def test_a_line_goes_on_until_it_is_decided_on_each_kind(tmp_path: Path):
    """Decided on one kind, open on the other: one more round, as long as its slower trials."""
    plan = resolve(suite_of(tmp_path, SUITE), profile=None)
    decided = turns((200.0, 201.0, 199.0))
    restless = turns((100.0, 130.0, 80.0), host="b", machine=XEON)
    twice = turns((200.0, 201.0, 199.0), host="b", machine=XEON)

    found = line_look(tmp_path, decided + restless)

    verdicts = {key: look and look.verdict for key, look in found.looks.items()}
    assert verdicts == {("keras", "torch", EPYC): "slower", ("keras", "torch", XEON): "open"}
    assert (found.stop, found.round_s) == (None, 118.0)
    assert [trial.cell.backend for trial in next_round(plan, [found])] == ["torch", "keras"]
    assert [pair["machine"] for pair in found.as_dict()["pairs"]] == [EPYC, XEON]
    assert line_look(tmp_path, decided + twice).stop == "decided"
    assert "machine" not in line_look(tmp_path, decided).as_dict()["pairs"][0]


def test_backends_that_never_met_on_a_kind_go_on(tmp_path: Path):
    """Nothing is decided where one ran on one kind, and the other on another."""
    records = turns((200.0, 201.0, 199.0))
    for one in records:
        one["machine"] = {"keras": EPYC, "torch": XEON}[one["backend"]]

    found = line_look(tmp_path, records)

    assert (found.looks, found.stop) == ({("keras", "torch"): None}, None)


def test_looks_share_the_error_among_the_kinds(tmp_path: Path):
    """What three trials just decide on one kind is open where two kinds are looked at."""
    close = (106.2, 105.5, 106.9)
    base = (100.0, 100.0, 100.0)
    alone, beside = turns(close, base), turns(base, (100.0, 130.0, 80.0), host="b", machine=XEON)

    (single,) = line_look(tmp_path, alone).looks.values()
    double = line_look(tmp_path, alone + beside).looks["keras", "torch", EPYC]

    assert (single.verdict, double.verdict) == ("slower", "open")


class TestStrata:
    """The ratio over several hosts of a kind."""

    LOGS = (0.1, 0.3, 0.2, 0.5, 0.7)
    HOSTS = ("a", "a", "a", "b", "b")

    def test_each_host_has_the_same_weight(self):
        """Worked by hand: means 0.2 and 0.6, their standard error 0.2; sizes 3 and 2."""
        ratio = paired_ratio(self.LOGS, self.HOSTS)

        assert ratio.log == pytest.approx(0.4)
        assert (ratio.hosts, ratio.trials, ratio.freedom) == (2, 5, 4)
        assert ratio.host_error == pytest.approx(0.2)
        deviation = math.sqrt(sum((log - 0.36) ** 2 for log in self.LOGS) / 4)
        assert ratio.error == pytest.approx(deviation * math.sqrt(1 / 3 + 1 / 2) / 2)

    def test_the_interval_is_the_wider_of_pairs_and_hosts(self):
        """Student's t is 12.706 for two hosts, and 2.776 for five pairs."""
        apart, alike = paired_ratio(self.LOGS, self.HOSTS), paired_ratio(self.LOGS, "bbaab")

        assert math.log(apart.high) == pytest.approx(0.4 + 12.7062 * 0.2, rel=1e-4)
        assert 12.7062 * alike.host_error < 2.776 * alike.error
        assert math.log(alike.high / alike.times) == pytest.approx(2.77645 * alike.error, rel=1e-4)

    def test_one_host_is_no_stratum(self):
        """Bit by bit the ratio of pairs without a host."""
        for count in range(1, len(self.LOGS) + 1):
            logs = self.LOGS[:count]
            assert paired_ratio(logs, ["a"] * count) == paired_ratio(logs)

    def test_a_pair_on_each_host_is_students_test(self):
        """Then pairs and hosts are the same."""
        ratio = paired_ratio(self.LOGS, "abcde")

        assert (ratio.low, ratio.high) == pytest.approx(
            (paired_ratio(self.LOGS).low, paired_ratio(self.LOGS).high)
        )

    def test_hosts_that_are_missing_are_refused(self):
        """Every pair has one."""
        with pytest.raises(ValueError, match="shorter"):
            paired_ratio(self.LOGS, self.HOSTS[:3])

    def test_overall_adds_the_errors_of_hosts(self):
        """A host may favour the same backend everywhere, so they do not average out."""
        ratio = paired_ratio(self.LOGS, self.HOSTS)

        mean = mean_ratio([ratio, ratio])

        assert (mean.hosts, mean.host_error) == (2, pytest.approx(0.2))
        assert mean.error == pytest.approx(ratio.error / math.sqrt(2))

    @pytest.mark.parametrize(("host_error", "verdict"), [(0.001, "faster"), (0.1, "open")])
    def test_a_winner_has_an_interval_without_one(self, host_error, verdict):
        """Trials alone would name it; hosts that disagree do not."""
        ratio = Ratio(log=0.5, error=0.01, freedom=9, trials=10, hosts=2, host_error=host_error)
        rule = rule_for([ratio], comparisons=1)

        assert rule.verdict(ratio) == verdict
        assert rule.verdict(ratio.inverse) == {"faster": "slower"}.get(verdict, verdict)

    @pytest.mark.parametrize(("host_error", "verdict"), [(0.0001, "equal"), (0.1, "open")])
    def test_equal_backends_have_an_interval_within_the_margin(self, host_error, verdict):
        """Likewise."""
        ratio = Ratio(log=0.001, error=0.001, freedom=9, trials=10, hosts=2, host_error=host_error)

        assert rule_for([ratio], comparisons=1).verdict(ratio) == verdict

    def test_hosts_that_disagree_hide_a_larger_difference(self):
        """The detectable one grows with their scatter."""
        ratio = Ratio(log=0.0, error=0.01, freedom=9, trials=10, hosts=3, host_error=0.0)
        apart = replace(ratio, host_error=0.05)
        rule = rule_for([ratio], comparisons=1)

        assert rule.detectable(apart) == pytest.approx(math.exp(0.05 * 8.775), rel=1e-3)
        assert rule.detectable(ratio) < 1.1
