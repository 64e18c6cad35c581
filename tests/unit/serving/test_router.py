"""Routing as pure state: which arm answers, for whom, and for how long."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lockgate.core.contract import ColumnType, InputColumn, ModelContract, Policy, RequestPolicy, TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.routing.account import account
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.router import Route, Router
from lockgate.serving.routing.routes import constant_problem, difference, make_route
from lockgate.serving.routing.sticky import CHAMPION
from tests.bundles import contract, graph

A, B, C, D = (Digest(letter * 64) for letter in "abcd")
DESIRED = Desired(sequence=5, champion=A, previous=B, since=datetime(2026, 1, 2, tzinfo=UTC))
ROLLOUT = replace(
    DESIRED,
    challengers=(DesiredChallenger(name="canary", bundle=C, weight=0.25, tags=("new", "team.x")),),
    shadows=(DesiredShadow(name="dark", bundle=D, share=0.5),),
)
MODEL = {digest: ServedModel(digest, contract(), graph(0.0, TaskKind.BINARY)) for digest in (A, B, C, D)}
ENTITIES = [f"customer-{number}" for number in range(2000)]


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def route(
    desired: Desired = DESIRED,
    loaded: Mapping[Digest, ServedModel] = MODEL,
    refused: Mapping[Digest, str] | None = None,
    clock: Clock | None = None,
) -> Route:
    return make_route("toy", desired, loaded, refused or {}, clock=clock or Clock())


def answering(served: Route) -> Counter[str]:
    return Counter(served.choose(entity).arm.name for entity in ENTITIES)


# -- the champion ------------------------------------------------------------------------------------------------------


def test_the_champion_takes_all_traffic_and_the_previous_one_is_kept() -> None:
    served = route()
    for entity in (None, "x", "y"):
        choice = served.choose(entity)
        assert (choice.arm.model.digest, choice.propensity, choice.forced, choice.entity) == (A, 1.0, False, entity)
    assert list(served.loaded) == [A, B]
    assert served.weights() == {CHAMPION: 1.0}


def test_what_is_not_asked_for_is_not_kept() -> None:
    assert list(route(replace(DESIRED, previous=None)).loaded) == [A]


@pytest.mark.parametrize("how", [{}, {"tag": "canary"}, {"version": C}])
def test_a_route_whose_champion_is_not_loaded_says_why(how: dict[str, str]) -> None:
    served = route(ROLLOUT, {B: MODEL[B], C: MODEL[C]}, {A: "part card.md is missing"}).renewed()
    assert not served.ready
    assert served.weights() == {}
    with pytest.raises(RequestRefused, match=r"routed to a{64}, but: part card\.md is missing") as refused:
        served.choose(None, **how)
    assert refused.value.reason is Reason.NOT_LOADED
    assert account(served)["since"] is None


# -- weights and leases ------------------------------------------------------------------------------------------------


def test_a_challenger_has_its_share_of_entities_and_each_entity_its_arm() -> None:
    served = route(ROLLOUT).renewed()
    assert answering(served)["canary"] == pytest.approx(500, abs=90)  # 4.6 standard deviations
    assert [served.choose(each).arm for each in ENTITIES] == [served.choose(each).arm for each in ENTITIES]
    assert {(c.arm.name, c.propensity, c.forced) for c in map(served.choose, ENTITIES)} == {
        (CHAMPION, 0.75, False),
        ("canary", 0.25, False),
    }


def test_requests_without_an_entity_are_shared_out_by_weight() -> None:
    served = route(ROLLOUT).renewed()
    seen = Counter(served.choose(None).arm.name for _ in range(4000))
    assert seen["canary"] == pytest.approx(1000, abs=150)  # 5.5 standard deviations


def test_without_a_lease_and_after_it_the_champion_alone_answers_and_nothing_is_shadowed() -> None:
    clock = Clock()
    served = route(ROLLOUT, clock=clock)
    alone = Counter({CHAMPION: len(ENTITIES)})
    assert (answering(served), served.active_shadows()) == (alone, ())
    served = served.renewed()
    clock.now += ROLLOUT.lease_s - 0.001
    assert len(answering(served)) == 2
    assert [each.name for each in served.active_shadows()] == ["dark"]
    clock.now += 0.001
    assert (answering(served), served.active_shadows()) == (alone, ())
    assert served.choose("x").propensity == 1.0
    assert served.weights() == {CHAMPION: 1.0, "canary": 0.0}


def test_a_renewed_lease_brings_the_same_entities_back() -> None:
    clock = Clock()
    served = route(ROLLOUT, clock=clock).renewed()
    before = [served.choose(each).arm.name for each in ENTITIES]
    clock.now += 1000
    assert [served.renewed().choose(each).arm.name for each in ENTITIES] == before


def test_a_renewal_never_shortens_a_lease() -> None:
    clock = Clock()
    long = route(ROLLOUT, clock=clock).renewed(60.0)
    assert long.renewed(1.0).lease_until == clock.now + 60.0


def test_without_challengers_and_shadows_there_is_nothing_to_renew() -> None:
    served = route()
    assert served.renewed() is served


def test_the_part_of_a_challenger_that_is_not_loaded_goes_to_the_champion() -> None:
    second = DesiredChallenger(name="other", bundle=D, weight=0.5)
    both = replace(ROLLOUT, challengers=(*ROLLOUT.challengers, second))
    served = route(both, {A: MODEL[A], D: MODEL[D]}, {C: "damaged"}).renewed()
    assert served.weights() == {CHAMPION: 0.5, "other": 0.5}
    assert set(answering(served)) == {CHAMPION, "other"}
    complete = route(both).renewed()
    for entity in ENTITIES:
        wanted = complete.choose(entity).arm.name
        assert served.choose(entity).arm.name == (CHAMPION if wanted == "canary" else wanted)


def test_the_salt_is_the_champions_digest_unless_one_is_given() -> None:
    def arms(salt: str | None) -> list[str]:
        served = route(replace(ROLLOUT, salt=salt)).renewed()
        return [served.choose(each).arm.name for each in ENTITIES]

    assert arms(None) == arms(A) != arms("other")


# -- forced requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "name", "digest"),
    [
        ({"tag": "champion"}, "champion", A),
        ({"tag": "previous"}, "previous", B),
        ({"tag": "canary"}, "canary", C),
        ({"tag": "team.x"}, "canary", C),
        ({"tag": "dark"}, "dark", D),
        ({"version": A}, "champion", A),
        ({"version": B}, "previous", B),
        ({"version": D}, "dark", D),
        ({"tag": "new", "version": C}, "canary", C),
    ],
)
def test_any_loaded_arm_can_be_forced_by_name_tag_or_version_lease_or_not(
    how: dict[str, str], name: str, digest: Digest
) -> None:
    choice = route(ROLLOUT).choose("x", **how)
    assert (choice.arm.name, choice.arm.model.digest) == (name, digest)
    assert (choice.forced, choice.propensity, choice.entity) == (True, 1.0, "x")
    assert dict(choice.arm.headers)[b"x-lockgate-arm"] == name.encode()


@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        (
            {"tag": "none"},
            Reason.UNKNOWN_ARM,
            "no arm 'none'; there are: champion, canary, previous, dark, new, team.x",
        ),
        ({"version": "e" * 64}, Reason.UNKNOWN_VERSION, f"is not routed; there are: {A}, {C}, {B}, {D}"),
        ({"tag": "canary", "version": A}, Reason.UNKNOWN_VERSION, f"arm 'canary' of model 'toy' is version {C}, not"),
    ],
)
def test_an_arm_that_is_not_there_is_refused_with_those_that_are(
    how: dict[str, str], reason: Reason, message: str
) -> None:
    with pytest.raises(RequestRefused, match=message) as refused:
        route(ROLLOUT).choose("x", **how)
    assert refused.value.reason is reason


# -- shadows -----------------------------------------------------------------------------------------------------------


def test_a_shadow_sees_its_share_of_entities_whichever_arm_they_have() -> None:
    served = route(ROLLOUT).renewed()
    shadow = served.active_shadows()[0]
    seen = Counter((served.choose(each).arm.name, shadow.takes(each)) for each in ENTITIES)
    assert seen["canary", True] / (seen["canary", True] + seen["canary", False]) == pytest.approx(0.5, abs=0.1)
    assert seen[CHAMPION, True] / (seen[CHAMPION, True] + seen[CHAMPION, False]) == pytest.approx(0.5, abs=0.06)
    assert [shadow.takes(each) for each in ENTITIES] == [shadow.takes(each) for each in ENTITIES]


@pytest.mark.parametrize(("share", "takes"), [(0.0, False), (1.0, True)])
def test_a_share_of_nought_is_nobody_and_one_everybody(share: float, takes: bool) -> None:
    desired = replace(ROLLOUT, shadows=(DesiredShadow(name="dark", bundle=D, share=share),))
    shadow = route(desired).renewed().active_shadows()[0]
    assert {shadow.takes(each) for each in (*ENTITIES, None)} == {takes}


# -- what answers when an arm fails ------------------------------------------------------------------------------------


def test_behind_a_challenger_stands_the_champion_and_behind_it_the_previous_bundle() -> None:
    served = route(ROLLOUT)
    champion, canary = served.arms
    assert [arm.name for arm in served.fallback(canary)] == ["champion", "previous"]
    assert [arm.name for arm in served.fallback(champion)] == ["previous"]
    assert served.previous is not None
    assert served.fallback(served.previous) == ()


def test_a_bundle_that_failed_is_not_asked_again_under_another_name() -> None:
    served = route(replace(ROLLOUT, challengers=(DesiredChallenger(name="same", bundle=B, weight=0.5),)))
    assert [arm.name for arm in served.fallback(served.arms[1])] == ["champion"]
    assert route(replace(DESIRED, previous=A)).previous is None


def test_a_previous_bundle_of_other_columns_is_kept_warm_but_answers_for_nobody() -> None:
    other = replace(contract(), classes=("left", "right"))
    loaded = {A: MODEL[A], B: ServedModel(B, other, graph(0.0, TaskKind.BINARY))}
    served = route(loaded=loaded)
    assert (served.previous, list(served.loaded)) == (None, [A, B])
    assert served.fallback(served.arms[0]) == ()


EXTRA = InputColumn(name="extra", type=ColumnType.NUMBER)
NO_AMOUNT = tuple(column for column in contract().inputs if column.name != "amount")
AMOUNT_AS_TEXT = tuple(
    replace(column, type=ColumnType.STRING) if column.name == "amount" else column for column in contract().inputs
)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (contract(), None),
        (contract("toy", TaskKind.REGRESSION), "it answers value, the champion probability, label"),
        (replace(contract(), classes=("nay", "aye")), "callers would see the form change"),
        (replace(contract(), inputs=(*contract().inputs, EXTRA)), "it needs column 'extra'"),
        (
            replace(contract(), inputs=(*contract().inputs, EXTRA), requests=RequestPolicy(missing_column=Policy.FLAG)),
            None,
        ),
        (replace(contract(), inputs=NO_AMOUNT), "it refuses column 'amount'"),
        (replace(contract(), inputs=NO_AMOUNT, requests=RequestPolicy(extra_column=Policy.FLAG)), None),
        (replace(contract(), inputs=AMOUNT_AS_TEXT), "column 'amount' is a string there"),
    ],
)
def test_bundles_go_together_when_the_champions_callers_would_not_notice(other: ModelContract, why: str | None) -> None:
    found = difference(contract(), other)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize(
    ("task", "constant", "problem"),
    [
        (TaskKind.BINARY, {"probability": 0.5, "label": "no"}, None),
        (TaskKind.BINARY, {"probability": 1, "label": "yes"}, None),
        (TaskKind.BINARY, {"probability": 0.5}, "has probability; this model answers probability, label"),
        (TaskKind.BINARY, {"probability": 0.5, "label": "no", "x": 1}, "no more and no less"),
        (TaskKind.BINARY, {"probability": 0.5, "label": "maybe"}, 'label is "maybe"; one of no, yes'),
        (TaskKind.BINARY, {"probability": 1.5, "label": "no"}, "probability is 1.5; a number from 0 to 1"),
        (TaskKind.BINARY, {"probability": True, "label": "no"}, "probability is true; a number from 0 to 1"),
        (TaskKind.BINARY, {"probability": "0", "label": "no"}, 'probability is "0"'),
        (TaskKind.BINARY, {"probability": [0.5], "label": "no"}, "probability is [0.5]"),
        (TaskKind.REGRESSION, {"value": -3.5}, None),
        (TaskKind.REGRESSION, {"value": None}, "value is null; a number that float32 can hold"),
        (TaskKind.REGRESSION, {"value": 1e39}, "value is 1e+39; a number that float32 can hold"),
        (TaskKind.MULTICLASS, {"probabilities": [0.2, 0.3, 0.5], "label": "high"}, None),
        (TaskKind.MULTICLASS, {"probabilities": [0.2, 0.3], "label": "high"}, "3 numbers from 0 to 1 that sum to 1"),
        (TaskKind.MULTICLASS, {"probabilities": [0.2, 0.3, 0.6], "label": "high"}, "that sum to 1"),
        (TaskKind.MULTICLASS, {"probabilities": 1.0, "label": "high"}, "3 numbers"),
        (
            TaskKind.MULTICLASS,
            {"probabilities": [1, 0, 0], "label": ["low"]},
            'label is ["low"]; one of low, mid, high',
        ),
    ],
)
def test_a_constant_must_be_an_answer_the_model_could_give(
    task: TaskKind, constant: dict[str, Any], problem: str | None
) -> None:
    found = constant_problem(constant, contract("toy", task))
    assert found is None if problem is None else problem in (found or "")


# -- what the admin port shows -----------------------------------------------------------------------------------------


def test_the_account_shows_what_was_asked_for_and_what_is_in_force() -> None:
    clock = Clock()
    served = route(replace(ROLLOUT, timeout_s=0.2, constant={"value": 1.0}), clock=clock).renewed()
    clock.now += 4
    told = account(served)
    assert (told["lease_s"], told["lease_left_s"], told["timeout_ms"]) == (10.0, 6.0, 200.0)
    assert told["weights"] == {
        "asked": {"champion": 0.75, "canary": 0.25},
        "effective": {"champion": 0.75, "canary": 0.25},
    }
    assert told["shares"] == {"asked": {"dark": 0.5}, "effective": {"dark": 0.5}}
    assert told["fallback"] == {"constant": {"value": 1.0}}
    clock.now += 7
    told = account(served)
    assert told["lease_left_s"] == 0.0
    assert told["weights"] == {
        "asked": {"champion": 0.75, "canary": 0.25},
        "effective": {"champion": 1.0, "canary": 0.0},
    }
    assert told["shares"] == {"asked": {"dark": 0.5}, "effective": {"dark": 0.0}}


# -- the table ---------------------------------------------------------------------------------------------------------


def test_a_published_table_is_new_and_leaves_the_old_one_as_it_was() -> None:
    router = Router()
    before = router.table
    router.publish(route())
    router.publish(replace(route(), model="other"))
    assert dict(before) == {}
    assert set(router.table) == {"toy", "other"}


def test_only_a_single_model_may_go_unnamed() -> None:
    router = Router()
    with pytest.raises(RequestRefused, match="no model is routed"):
        router.find(None)
    router.publish(route())
    assert router.find(None).model == "toy"
    router.publish(replace(route(), model="other"))
    with pytest.raises(RequestRefused, match=r"\?model= with one of other, toy"):
        router.find(None)
    with pytest.raises(RequestRefused, match="no model 'third' is routed here; there are: other, toy"):
        router.find("third")
