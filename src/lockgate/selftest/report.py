"""What a selftest found: for programs (`--json`), for people, and for `docs/results/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.selftest.fault import Fault, Size
from lockgate.selftest.intervals import clopper_pearson
from lockgate.selftest.pushing import How, Stop, Trial
from lockgate.selftest.trials import Alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a selftest found.

    Attributes:
        spec: What it was made of.
        faults: The faults that were asked for.
        sizes: The sizes.
        trials: How each ended.
        alike: The A/A candidates.
        stopped_by: What stopped the clean candidate, by gate.
        seconds: Wall clock of everything.
    """

    spec: ReleaseSpec
    faults: tuple[Fault, ...]
    sizes: tuple[Size, ...]
    trials: tuple[Trial, ...]
    alike: tuple[Alike, ...]
    stopped_by: Mapping[str, Stop]
    seconds: float

    @property
    def not_applicable(self) -> dict[str, str]:
        """Faults that cannot be made of this spec, with why."""
        return {each.name: why for each in self.faults if (why := each.needs(self.spec)) is not None}

    @property
    def escaped(self) -> tuple[Trial, ...]:
        """Faults at full size that the gates they name did not stop."""
        return tuple(each for each in self.trials if each.size is Size.FULL and each.how is not How.CAUGHT)

    @property
    def caught(self) -> tuple[Trial, ...]:
        """Faults at full size that were stopped by a gate they name."""
        return tuple(each for each in self.trials if each.size is Size.FULL and each.how is How.CAUGHT)

    @property
    def passed(self) -> bool:
        """Whether there was something to see, and no fault at full size escaped."""
        return bool(self.trials) and not self.escaped

    def of(self, fault: str) -> tuple[Trial, ...]:
        """Return a fault's trials, the largest first."""
        return tuple(sorted((each for each in self.trials if each.fault == fault), key=lambda t: -t.size.share))

    def smallest(self, fault: str) -> Trial | None:
        """Return the smallest size at which a fault was caught, all larger ones tried being caught too."""
        found = None
        for trial in self.of(fault):
            if trial.how is not How.CAUGHT:
                break
            found = trial
        return found

    def as_json(self) -> dict[str, Json]:
        """Return the whole for a program."""
        false = sum(bool(each.stops) for each in self.alike)
        low, high = clopper_pearson(false, len(self.alike))
        return {
            "model": self.spec.name,
            "passed": self.passed,
            "sizes": [each.value for each in self.sizes],
            "caught": [each.fault for each in self.caught],
            "escaped": [_trial(each) for each in self.escaped],
            "faults": [self._fault(each) for each in self.faults],
            "not_applicable": self.not_applicable,
            "clean": {"stopped_by": {gate: _stop(stop) for gate, stop in self.stopped_by.items()}},
            "alike": {
                "runs": len(self.alike),
                "stopped": false,
                "false_alarm_fraction": false / len(self.alike) if self.alike else None,
                "interval_95": [low, high],
                "stops": [{"seed": each.seed, **_stop(stop)} for each in self.alike for stop in each.stops],
            },
            "seconds": round(self.seconds, 1),
        }

    def _fault(self, fault: Fault) -> dict[str, Json]:
        smallest = self.smallest(fault.name)
        return {
            "name": fault.name,
            "story": fault.story,
            "must_be_stopped_by": [each.gate for each in fault.by],
            "enters_before": fault.entry.before.value,
            "full_amount": fault.amount,
            "unit": fault.unit,
            "not_applicable": fault.needs(self.spec),
            "smallest_size_caught": None if smallest is None else smallest.size.value,
            "trials": [_trial(each) for each in self.of(fault.name)],
        }


def _trial(trial: Trial) -> dict[str, Json]:
    told = {} if trial.stop is None else _stop(trial.stop)
    return {
        "fault": trial.fault,
        "size": trial.size.value,
        "amount": trial.amount,
        "how": trial.how.value,
        "seconds": trial.seconds,
        **told,
    }


def _stop(stop: Stop) -> dict[str, Json]:
    return {
        "stage": stop.stage.value,
        "gate": stop.gate,
        "check": stop.check,
        "verdict": stop.verdict.value,
        "reason": stop.reason,
    }


COLUMNS = ("fault", "named gate", "full", "half", "quarter", "stopped by", "seconds")


def table(report: Report) -> list[tuple[str, ...]]:
    """Return a row a fault for people."""
    lines: list[tuple[str, ...]] = []
    for fault in report.faults:
        found = report.of(fault.name)
        if not found:
            lines.append((fault.name, fault.by[0].gate, "does not apply", "", "", fault.needs(report.spec) or "", ""))
            continue
        by_size = {each.size: each for each in found}
        cells = [by_size[size].how.value if size in by_size else "" for size in Size]
        stop = found[0].stop
        where = "" if stop is None else f"{stop.gate or stop.stage.value} / {stop.check}"
        lines.append((fault.name, fault.by[0].gate, *cells, where, f"{sum(each.seconds for each in found):.1f}"))
    return lines


def page(report: Report, day: date, machine: str) -> str:
    """Return the report as a page for `docs/results/`."""
    stopped, runs = sum(bool(each.stops) for each in report.alike), len(report.alike)
    low, high = clopper_pearson(stopped, runs)
    made = f"{len(report.trials)} candidates in {report.seconds:.0f} s on {machine}"
    lines = [
        f"# Selftest, {day.isoformat()}",
        "",
        f"`lockgate selftest`, spec `{report.spec.name}`, {made}.",
        "",
        f"A/A (another seed, same data): {stopped} of {runs} stopped; exact 95 % interval {low:.3f} to {high:.3f}.",
        "",
        *_markdown(COLUMNS, table(report)),
        "",
        *_escapes(report),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _escapes(report: Report) -> list[str]:
    bad = [each for each in report.trials if each.how is not How.CAUGHT]
    if not bad:
        return ["Nothing escaped at any size."]
    shown = [f"- `{each.fault}` at {each.size.value}: {each.how.value}{_why(each.stop)}" for each in bad]
    return ["## What was not caught by its gate", "", *shown]


def _why(stop: Stop | None) -> str:
    return "" if stop is None else f" ({stop.gate or stop.stage.value} said {stop.verdict.value}: {stop.reason[:200]})"


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(each.replace('|', '/') for each in row)} |" for row in rows)]
