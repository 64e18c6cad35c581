"""One run of the whole comparison: measures the servers in turns and returns a document of raw figures."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.serving import closed_loop, stages, wrk
from benchmarks.serving.closed_loop import Result
from benchmarks.serving.machine import facts, say
from benchmarks.serving.model import Model
from benchmarks.serving.ours import OURS
from benchmarks.serving.processes import Unusable
from benchmarks.serving.proofs import our_facts
from benchmarks.serving.session import Lengths, Session
from benchmarks.serving.subject import Subject
from benchmarks.serving.subjects import subjects
from benchmarks.serving.wrk import Wrong

_MODEL_FACTS = ("graph_sha256", "graph_bytes", "trees", "leaves", "train_rows")


def run(model: Model, lengths: Lengths, only: Sequence[str]) -> dict[str, Any]:
    """Measure everything and return the document."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-serving-")))
        session = Session(model, lengths, folder, stack)
        first = session.start(OURS)
        if first is None:
            raise Unusable(f"our own server cannot be measured: {session.missing[OURS.name]}")
        _, body = closed_loop.ask(first.port, OURS.make(model, [0]), "entity-0")
        everyone = [each for each in subjects(len(body)) if not only or each.name in only]
        document = {
            "schema": "lockgate.serving_benchmark/1",
            "lengths": asdict(lengths),
            **facts(everyone),
            "model": {name: model.facts[name] for name in _MODEL_FACTS},
            "columns": len(model.facts["columns"]),
            "answer_bytes": len(body),
        }
        results = closed(session, everyone)
        document["closed_loop"] = {name: _closed_json(result) for name, result in results.items()}
        document["ours"] = our_facts(session, results)
        document["memory"] = {
            name: {"pss_bytes": each.pss_bytes(), "processes": len(each.pids()), "start_s": each.ready_s}
            for name, each in session.running.items()
        }
        document["thousand_rows"] = stages.thousand_rows(session)
        document["open_loop"] = stages.in_open_loop(session, everyone)
        document["missing"] = session.missing
    document["worker"] = stages.worker_alone(model, lengths)
    document["start"] = stages.starts(model, lengths)
    return document


def closed(session: Session, everyone: Sequence[Subject]) -> dict[str, Result]:
    """Measure CPU per request of every subject, in turns."""
    results: dict[str, Result] = {}
    scripts: dict[str, Path] = {}
    there = [each for each in everyone if session.start(each) is not None]
    for subject in there:
        running = session.running[subject.shared]
        folder = session.folders[subject.shared] / subject.name
        folder.mkdir()
        scripts[subject.name] = closed_loop.script_of(subject, session.model, folder, running.port)
        results[subject.name] = Result()
        if session.lengths.rounds > 1:
            wrk.run(scripts[subject.name], running.port, 1)  # warm-up
    for number in range(session.lengths.rounds):
        for subject in there:
            result = results[subject.name]
            if result.void is not None:
                continue
            running = session.running[subject.shared]
            try:
                result.turns.append(
                    closed_loop.turn(subject, session.model, running, scripts[subject.name], session.lengths.turn_s)
                )
                say(f"round {number + 1}: {subject.name:<18} {result.turns[-1].us:8.1f} us")
                closed_loop.check_many(subject, session.model, running.port, 16)
            except (Wrong, Unusable) as why:
                result.void = str(why)
                say(f"{subject.name} is void: {why}")
    return results


def _closed_json(result: Result) -> dict[str, Any]:
    if not result.turns:
        return {"void": result.void or "not measured"}
    us = [each.us for each in result.turns]
    return {
        "void": result.void,
        "median_us": statistics.median(us),
        "min_us": min(us),
        "rps": statistics.median(each.rps for each in result.turns),
        "others": max(each.others for each in result.turns),
        "requests": sum(each.requests for each in result.turns),
        "checked": sum(each.checked for each in result.turns),
        "turns_us": us,
    }
