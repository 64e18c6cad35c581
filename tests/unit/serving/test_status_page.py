"""The page for people: true, whole, and of itself alone."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.http.status_page import Shown, page
from lockgate.serving.http.status_plot import evenly
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.router import Route
from lockgate.serving.routing.routes import make_route
from lockgate.serving.watch.metric_snapshot import decode
from lockgate.serving.watch.metrics import Metrics
from lockgate.serving.watch.sketch import PROBABILITY
from tests.bundles import contract, graph

A, B, C = (Digest(letter * 64) for letter in "abc")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VOID = {"meta", "br", "rect"}


class Reader(HTMLParser):
    """Reads the page: its text, its references, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.references: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attributes if name in {"href", "src", "action", "srcset"}]
        assert tag != "script"
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        del tag, attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def route(task: TaskKind = TaskKind.BINARY) -> Route:
    desired = Desired(
        sequence=7,
        champion=A,
        challengers=(DesiredChallenger(name="canary", bundle=B, weight=0.25),),
        shadows=(DesiredShadow(name="dark", bundle=C, share=0.5),),
        since=WHEN,
    )
    loaded = {digest: ServedModel(digest, contract(task=task), graph(0.0, task)) for digest in (A, B, C)}
    return make_route("toy", desired, loaded, {}).renewed()


def shown(metrics: Metrics, table: dict[str, Route], **more: Any) -> Reader:
    facts: dict[str, Any] = {"environment": "staging", "problems": [], "wrong": {}, "now": 2e9} | more
    return Reader(page(Shown(table=table, snapshot=decode(metrics.snapshot()), **facts)))


def test_it_says_what_is_served_to_whom_and_how_fast() -> None:
    metrics = Metrics()
    for arm, count in (("champion", 60), ("canary", 40)):
        for _ in range(count):
            metrics.answered("toy", arm, 1, (), 0.0003, {"probability": np.array([0.3], np.float32)})
    metrics.responses[200] += 100
    found = shown(metrics, {"toy": route()})
    for text in ("staging", "ready", "toy", "sequence 7", "2026-01-02 03:04:05", "lease ends in 10 s", "champion",
                 "canary", "dark (shadow)", A[:12], "25.0%", "40.0%", "320 µs"):  # fmt: skip
        assert text in found.text, text
    assert "not ready" not in found.text


def test_a_trouble_that_turns_nobody_away_is_said_too() -> None:
    problems: list[str | None] = ["the prediction log <cannot> be written"]
    metrics = Metrics()
    metrics.watch_part("prediction_log", lambda: problems[0])
    found = shown(metrics, {"toy": route()})
    assert "the prediction log <cannot> be written" in found.text
    assert "not ready" not in found.text
    problems[0] = None
    assert "cannot" not in shown(metrics, {"toy": route()}).text


def test_the_share_that_was_asked_for_is_not_what_a_missing_bundle_leaves_of_it() -> None:
    alone = make_route("toy", route().desired, {A: route().loaded[A]}, {B: "it is gone"}).renewed()
    assert re.search(r"champion .{0,80}75\.0% .{0,20}100\.0%", shown(Metrics(), {"toy": alone}).text)


def test_an_arm_that_was_asked_for_and_is_not_loaded_has_its_line_and_the_reason() -> None:
    alone = make_route("toy", route().desired, {A: route().loaded[A]}, {B: "it is <gone>"}).renewed()
    found = shown(Metrics(), {"toy": alone}).text
    assert re.search(r"canary .{0,30}25\.0% .{0,20}0\.0% .{0,40}not loaded it is <gone>", found)
    assert re.search(r"dark \(shadow\) .{0,60}not loaded", found)
    none = make_route("toy", route().desired, {}, {A: "it is gone"})
    assert re.search(
        r"champion .{0,30}75\.0% .{0,20}0\.0% .{0,40}not loaded it is gone", shown(Metrics(), {"toy": none}).text
    )


def test_why_an_arm_answers_wrong_is_read_without_a_mouse() -> None:
    assert "answers wrong probe x is off" in shown(Metrics(), {"toy": route()}, wrong={C: "probe x is off"}).text


def test_it_refers_to_nothing_outside_the_server() -> None:
    found = shown(Metrics(), {"toy": route()})
    assert found.references
    assert all(re.fullmatch(r"/[a-z0-9./]+", each) for each in found.references)


def test_what_is_wrong_is_said_and_nothing_in_it_becomes_markup() -> None:
    metrics = Metrics()
    metrics.failed("POST failed: <script>alert(1)</script>")
    broken = make_route("other", Desired(sequence=1, champion=B, since=WHEN), {}, {B: "bad <b>bytes</b>"})
    found = shown(
        metrics, {"toy": route(), "other": broken}, problems=[broken.problem], wrong={B: 'probe "x" is <off>'}
    )
    assert "not ready" in found.text
    assert "bad <b>bytes</b>" in found.text
    assert "not loaded" in found.text
    assert "answers wrong" in found.text
    assert "<script>alert(1)</script>" in found.text  # as text


@pytest.mark.parametrize("task", TaskKind)
def test_scores_of_every_kind_of_model_are_drawn(task: TaskKind) -> None:
    outputs: dict[TaskKind, dict[str, Any]] = {
        TaskKind.BINARY: {"probability": np.array([0.0, 0.5, 1.0], np.float32)},
        TaskKind.MULTICLASS: {"probabilities": np.array([[0.2, 0.3, 0.5]], np.float32)},
        TaskKind.REGRESSION: {"value": np.array([-1e9, 0.0, 3.0, 1e9], np.float32)},
    }
    metrics = Metrics()
    metrics.answered("toy", "champion", 1, (), 99.0, outputs[task])
    text = page(Shown(environment="x", problems=[], table={"toy": route(task)}, wrong={}, now=0.0,
                      snapshot=decode(metrics.snapshot())))  # fmt: skip
    assert text.count("<svg") == 2
    assert "over 10 s" in Reader(text).text


def test_a_server_with_nothing_to_show_has_a_page_too() -> None:
    found = shown(Metrics(), {}).text
    assert "No model is routed here yet." in found
    assert "ready, no model" in found


def test_probabilities_are_drawn_on_an_even_scale_and_none_is_lost() -> None:
    scores = np.linspace(0, 1, 10_001, dtype=np.float32)
    even = evenly(PROBABILITY.count(scores))
    assert sum(even) == 10_001
    assert all(abs(each - 500) <= 2 for each in even)


def test_it_says_what_became_of_labels_also_of_those_that_were_given_up() -> None:
    metrics = Metrics()
    counts = {"joined": 12, "late": 3, "displaced": 4567, "expired": 0}
    metrics.watch("lockgate_labels_total", "Labels.", lambda: counts, ("outcome",))
    metrics.watch("lockgate_labels_waiting_rows", "Waiting.", lambda: 8)
    text = shown(metrics, {}).text
    assert "Labels, since the archive began" in text
    for words in ("joined 12", "late 3", "displaced 4,567", "waiting 8"):
        assert words in text
