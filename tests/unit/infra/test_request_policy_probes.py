"""The requests that prove a server follow the contract's own policy: what it refuses is no edge case to be answered."""

from dataclasses import replace

import pytest

from lockgate.core.contract import Policy, RangePolicy, RequestPolicy
from lockgate.core.ids import Digest
from lockgate.core.probes import edge_rows, malformed
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.refusals import RequestRefused
from tests.bundles import PROBES, contract, graph

TYPICAL = PROBES["typical-1"]
POLICIES = (
    RequestPolicy(),
    RequestPolicy(out_of_range=RangePolicy.REFUSE, unknown_category=Policy.REFUSE),
    RequestPolicy(out_of_range=RangePolicy.CLIP, null=Policy.FLAG),
    RequestPolicy(missing_column=Policy.FLAG, extra_column=Policy.FLAG),
)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_server_answers_every_edge_row_of_its_policy(policy: RequestPolicy) -> None:
    agreed = replace(contract(), requests=policy)
    model = ServedModel(Digest("ab" * 32), agreed, graph(0.0, agreed.task))
    rows = edge_rows(agreed, TYPICAL)
    assert len(rows) > 5
    for name, row in rows:
        try:
            model.answer({column: [value] for column, value in row.items()}, 1)
        except RequestRefused as refused:
            pytest.fail(f"{name}: {refused.message}")


def test_what_a_policy_refuses_is_asked_for_as_malformed_and_what_it_flags_is_not() -> None:
    names = [{each.name for each in malformed(replace(contract(), requests=policy), TYPICAL)} for policy in POLICIES]
    default, strict, tolerant, loose = names
    assert strict - default == {"lowest-amount", "lowest-amount-row", "unseen-colour", "unseen-colour-row"}
    assert default - tolerant == {"null-age", "null-age-row"}
    assert default - loose == {"missing-column", "missing-column-row", "unknown-column"}
