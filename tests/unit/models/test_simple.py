"""The simple model: fitted on the same columns for every task, bounded, seeded, and honest about what it is."""

from __future__ import annotations

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.errors import BadInput
from lockgate.models.frames import labelled_rows
from lockgate.models.losses import constant_loss, loss_of
from lockgate.models.simple import fit_simple
from tests.unit.models.rows import rows, spec_of


@pytest.mark.parametrize("kind", list(TaskKind))
def test_it_beats_the_constant_on_rows_with_nulls_and_unseen_strings(kind: TaskKind) -> None:
    spec, train, test = spec_of(kind), rows(3000, kind), rows(2000, kind, seed=1, unseen=True)
    answers = fit_simple(train, spec).score(test)
    known, label = labelled_rows(train, spec).label, labelled_rows(test, spec).label
    assert np.isfinite(answers).all()
    assert loss_of(kind, answers, label) < 0.9 * constant_loss(kind, known, label, len(spec.task.classes))


def test_the_same_rows_and_seed_give_the_same_answers_and_a_sample_says_so() -> None:
    spec, train = spec_of(), rows(3000)
    one, again = (fit_simple(train, spec, most_rows=1000) for _ in range(2))
    assert (one.score(train) == again.score(train)).all()
    assert (one.facts["rows"], one.facts["rows_there"]) == (1000, 3000)


def test_a_class_without_a_row_in_the_sample_has_no_chance() -> None:
    spec = spec_of(TaskKind.MULTICLASS)
    train = rows(600, TaskKind.MULTICLASS)
    answers = fit_simple(train[train["y"] != "middle"], spec).score(train)
    assert answers.shape == (600, 3)
    assert (answers[:, 1] == 0).all()
    assert answers.sum(axis=1) == pytest.approx(np.ones(600))


def test_rows_of_one_class_are_refused_with_the_reason() -> None:
    train = rows(600)
    with pytest.raises(BadInput, match="simple model"):
        fit_simple(train[train["y"] == 1], spec_of())


def test_no_rows_give_no_answers() -> None:
    found = fit_simple(rows(600), spec_of()).score(rows(600)[:0])
    assert found.shape == (0,)
