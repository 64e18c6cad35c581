"""Tests M1 to M7: model development."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.core.estimates import count, items, within
from lockgate.core.ids import Json
from lockgate.core.maturity.record import UNKNOWN_SPEC, Answer, Area, Finding, Record


def _found(id_: str, title: str, answer: Answer, why: str, evidence: Sequence[str] = ()) -> Finding:
    return Finding(id=id_, area=Area.MODEL, title=title, answer=answer, why=why, evidence=tuple(evidence))


def reviewed(record: Record) -> Finding:
    """M1: a clean commit made the bundle; under four eyes somebody else approves it."""
    title = "Model specs are reviewed and submitted"
    commit, dirty = record.provenance.get("commit"), record.provenance.get("dirty")
    if not commit or dirty is not False:
        return _found("M1", title, Answer.NO, "the bundle was not made by a clean, named commit")
    where = ["provenance.json of the bundle"]
    if within(record.spec.get("approval"), "four_eyes") is True:
        why = "a clean commit made the bundle, and who started the release may not approve it"
        return _found("M1", title, Answer.YES, why, [*where, "spec, approval.four_eyes"])
    alone = "the spec asks for no second person (approval.four_eyes)" if record.spec else UNKNOWN_SPEC
    why = f"a clean commit made the bundle; {alone}"
    return _found("M1", title, Answer.HALF, why, where)


def correlate(record: Record) -> Finding:
    """M2: needs the online gain of past releases beside the offline one."""
    del record
    title = "Offline and online metrics correlate"
    return _found("M2", title, Answer.NO, "no online gain of a release is on record to set beside the offline one")


def tuned(record: Record) -> Finding:
    """M3: a search on record, and whether its best values lie inside the ranges."""
    title = "All hyperparameters have been tuned"
    search = within(record.measured.get("training"), "search")
    trials = count(within(search, "made"))
    if not trials:
        return _found("M3", title, Answer.NO, "no hyperparameter search is on record; parameters are the spec's")
    where = [record.of_gate("training")]
    edges = _length(within(search, "edges"))
    if edges:
        why = f"{trials} trials, but {edges} best values lie at the edge of their range: widen it"
        return _found("M3", title, Answer.HALF, why, where)
    return _found("M3", title, Answer.YES, f"searched with {trials} trials, the best inside its ranges", where)


def staleness(record: Record) -> Finding:
    """M4: past champions scored on this release's holdout."""
    title = "The impact of model staleness is known"
    known = _length(within(record.section("staleness"), "points"))
    where = ["evaluation.json, section staleness"]
    if known >= 2:
        return _found("M4", title, Answer.YES, f"{known} past champions were scored on this release's holdout", where)
    if known:
        return _found("M4", title, Answer.HALF, "one past champion was scored; a curve needs two", where)
    return _found("M4", title, Answer.NO, "no past model was scored on this release's holdout")


def simpler(record: Record) -> Finding:
    """M5: the lower bound of the skill over a simple model."""
    title = "A simpler model is not better"
    where = [record.of_gate("quality")]
    if record.check_passed("quality", "skill_over_simple"):
        return _found("M5", title, Answer.YES, "better than the simple model, at the interval's lower bound", where)
    if record.check_passed("quality", "skill_over_naive"):
        why = "better than a constant at the interval's lower bound; a simple model was not beaten on record"
        return _found("M5", title, Answer.HALF, why, where)
    return _found("M5", title, Answer.NO, "no simpler model was beaten on record")


def slices(record: Record) -> Finding:
    """M6: declared slices judged, others searched."""
    title = "Model quality is sufficient on important data slices"
    declared = record.passed("slices")
    searched = within(record.section("slice_search"), "searched") is True
    where = [record.of_gate("slices")] if declared else []
    where += ["evaluation.json, section slice_search"] if searched else []
    if declared and searched:
        return _found("M6", title, Answer.YES, "declared slices passed, and others were searched for", where)
    if where:
        why = "declared slices passed; none were searched for" if declared else "slices were searched, none passed"
        return _found("M6", title, Answer.HALF, why, where)
    return _found("M6", title, Answer.NO, "no slice passed on record")


def inclusion(record: Record) -> Finding:
    """M7: groups of the spec's sensitive columns compared."""
    title = "The model is tested for considerations of inclusion"
    named = bool(items(record.spec.get("sensitive")))
    if record.passed("fairness") and named:
        why = "groups of the declared columns were compared, with intervals"
        return _found("M7", title, Answer.YES, why, [record.of_gate("fairness"), "spec, sensitive"])
    if record.verdict("fairness") is not None and named:
        why = f"groups were compared, and the gate said {record.verdict('fairness')}"
        return _found("M7", title, Answer.HALF, why, [record.of_gate("fairness")])
    why = "no comparison of groups is on record" if named else "the spec declares no group to compare (sensitive)"
    why = why if record.spec else UNKNOWN_SPEC
    return _found("M7", title, Answer.NO, why)


def _length(given: Json) -> int:
    return len(given) if isinstance(given, Sequence | Mapping) and not isinstance(given, str) else 0


TESTS = (reviewed, correlate, tuned, staleness, simpler, slices, inclusion)
