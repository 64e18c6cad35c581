"""The champion is swapped and rolled back while the server is saturated: nobody is failed, nobody is misrouted."""

from __future__ import annotations

import statistics
import time
from functools import lru_cache
from pathlib import Path

from benchmarks.faults.finding import Finding
from benchmarks.faults.published import Publication, misrouted
from tests.bundles import golden
from tests.integration.saturation import ROW, Saturation
from tests.server_process import Server, World, serving, until

CONNECTIONS = 8
RING = 7  # bundles in turns: one that comes back was freed and is loaded anew
PAUSE_S = 0.01  # between changes: each bundle answers somebody


def swaps_and_rollbacks(root: Path, *, workers: int, swaps: int, rollbacks: int) -> Finding:
    """Change the champion so often, a rollback after every few swaps, under a closed loop of several connections."""
    found = Finding(f"{swaps} swaps and {rollbacks} rollbacks under saturation, {workers} worker(s)")
    world = World(root)
    biases = {world.bundle(bias=0.3 * index): 0.3 * index for index in range(RING)}
    digests = list(biases)
    with serving(world, "--workers", str(workers)) as server:
        began = time.monotonic()
        found.expect(server.route(1, digests[0]).status_code == 200, "the first bundle was not taken")
        published = [Publication(digests[0], began, time.monotonic())]
        with Saturation(server.port, [float(1 + 7 * each) for each in range(CONNECTIONS)]) as load:
            at, done = 0, 0
            heard: set[str] = set()
            for number in range(swaps + rollbacks):
                back = done < rollbacks and (number + 1) * rollbacks // (swaps + rollbacks) > done
                done += back
                at += -1 if back else 1
                champion, previous = digests[at % RING], published[-1].digest
                published.append(_put(server, number + 2, champion, previous, found))
                if champion not in heard:  # whoever asks may stand still longer than a bundle's turns last
                    heard.add(champion)
                    _let_answer(server)
                time.sleep(PAUSE_S)
    right = lru_cache(None)(lambda digest, at: golden({**ROW, "amount": load.amounts[at]}, biases[digest])[0])
    wrong = list(misrouted(load.seen.answers, published, right))
    found.problems += [f"lost: {each}" for each in load.seen.failures[:5]] + wrong[:5]
    seen = {each.digest for each in load.seen.answers}
    found.expect(seen == set(digests), f"only {len(seen)} of {RING} bundles answered anybody: too little load")
    took = [each.acknowledged - each.begin for each in published[1:]]
    found.figures |= {
        "changes": len(took),
        "failed": len(load.seen.failures),
        "misrouted": len(wrong),
        "requests/s": round(len(load.seen.answers) / (published[-1].acknowledged - published[0].acknowledged)),
        "change p50 ms": round(statistics.median(took) * 1e3, 1),
        "change max ms": round(max(took) * 1e3, 1),
    }
    found.add_latencies(load.seen.answers)
    return found


def _let_answer(server: Server) -> None:
    """Wait until more was answered than was under way: some of that was asked of the present champion."""
    wanted = server.metric("lockgate_requests_total") + 2 * CONNECTIONS
    until(lambda: server.metric("lockgate_requests_total") >= wanted)


def _put(server: Server, sequence: int, champion: str, previous: str, found: Finding) -> Publication:
    begin = time.monotonic()
    answer = server.route(sequence, champion, previous)
    acknowledged = time.monotonic()
    if answer.status_code != 200:
        found.problems.append(f"sequence {sequence} was refused: {answer.text[:200]}")
        return Publication(previous, begin, acknowledged)
    account = answer.json()
    workers = account.get("workers", {"1": account})
    found.expect({each["champion"] for each in workers.values()} == {champion}, f"sequence {sequence}: {account}")
    return Publication(champion, begin, acknowledged)
