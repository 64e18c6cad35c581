"""What is not known: what no gate blocks for and a decision still has to bear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lockgate.adapters.dossier_blocks import Section
from lockgate.adapters.dossier_words import metric_name, number_text, plural
from lockgate.core.estimates import count, number, within
from lockgate.core.verdict import Check, Verdict

if TYPE_CHECKING:
    from lockgate.adapters.dossier import DossierFacts

_MOST_NAMED = 8
_SAID = {
    Verdict.FAIL: "did not hold",
    Verdict.INCONCLUSIVE: "could not be told",
    Verdict.ERROR: "could not be measured",
}


def unknown_of(facts: DossierFacts, small: Sequence[str], sections: Sequence[Section]) -> tuple[str, ...]:
    """Return what is not known, one sentence each.

    Args:
        facts: What the page says.
        small: Slices with too few rows to be judged.
        sections: The page's sections; what one of them did not measure is not known.
    """
    lines = [*facts.unknown, *_labels(facts), *_resolution(facts)]
    if small:
        more = f" and {len(small) - _MOST_NAMED} more" if len(small) > _MOST_NAMED else ""
        lines.append(f"Too small to judge on their own: {', '.join(small[:_MOST_NAMED])}{more}.")
    if not facts.spec.slices:
        lines.append("No slices are declared in the spec, so no group of rows was looked at on its own.")
    if not facts.spec.sensitive:
        lines.append("The spec names no sensitive column, so fairness between groups was not looked at.")
    lines += _advisory(facts)
    lines += [f"{each.title}: {_uncapitalised(each.lead[0])}" for each in sections if not each.measured and each.lead]
    lines.append("How live traffic differs from the holdout: everything here was measured on past, labelled rows.")
    return tuple(lines)


def _labels(facts: DossierFacts) -> Iterator[str]:
    quality = within(facts.evaluation.get("gates"), "quality")
    asked, unlabelled = count(within(quality, "asked")), count(within(quality, "unlabelled"))
    if asked and unlabelled:
        yield (
            f"{unlabelled:,} of {asked:,} holdout rows ({unlabelled / asked:.1%}) have no label; "
            "how well they are answered is not known."
        )
    known = count(within(within(facts.evaluation.get("gates"), "champion"), "known_rows"))
    if known:
        yield f"{known:,} rows were left out of the comparison because the champion was fitted on them."


def _resolution(facts: DossierFacts) -> Iterator[str]:
    """Say how small a difference the comparison could have seen at all."""
    champion = within(facts.evaluation.get("gates"), "champion")
    asked = getattr(facts.spec.gates.get("champion"), "metric", None)
    binding = str(asked or within(champion, "binding_metric"))
    least = number(within(within(within(champion, "metrics"), binding), "detectable"))
    if least is not None:
        yield (
            f"A difference in {metric_name(binding)} smaller than {number_text(least)} from the champion: with these "
            "rows it would be seen less than 8 times in 10."
        )


def _advisory(facts: DossierFacts) -> Iterator[str]:
    """Name what did not pass and blocks nothing; checks of one name share a sentence."""
    alike: dict[tuple[str, str, Verdict], list[Check]] = {}
    for report in facts.reports:
        for check in report.checks:
            if not check.required and check.verdict in _SAID and check.name != "too_small_to_judge":
                alike.setdefault((report.gate, check.name, check.verdict), []).append(check)
    for (gate, name, verdict), checks in alike.items():
        of = "" if len(checks) == 1 else f" in {plural(len(checks), 'slice')}"
        yield f"Advisory, blocks nothing: {metric_name(name)} of gate {gate} {_SAID[verdict]}{of}: {checks[0].reason}"


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
