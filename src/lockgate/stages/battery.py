"""The requests that a server must answer, or refuse, to prove that it serves a bundle; asked in sandbox and staging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lockgate.core.contract import ModelBundle, ProbeSet
from lockgate.core.ids import Json
from lockgate.core.probes import edge_rows, golden_problem, malformed, plausible_problem, refusal_problem
from lockgate.core.wire import Answer, Call, infer_call, invocations_call, read_infer, read_invocations

Send = Callable[[Call], Answer]
_NAMED = 10  # so many culprits are named in the measurements; the rest are counted


@dataclass
class Battery:
    """Requests sent to servers of one bundle, and what was wrong with the answers, counted and named.

    Attributes:
        bundle: What must answer.
        probes: Its golden requests.
        send: The server that is asked next.
        asked: Requests, by part.
        wrong: Problems, by part and kind.
        culprits: Their names.
    """

    bundle: ModelBundle
    probes: ProbeSet
    send: Send
    asked: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    culprits: dict[str, list[str]] = field(default_factory=dict)

    def run(self, *, everything: bool) -> None:
        """Send the golden requests, and on demand the edge and malformed ones.

        Raises:
            TransientError: The server stopped answering.
        """
        self.golden()
        if everything:
            self.golden_together()
            self.edge()
            self.malformed()

    def golden(self) -> None:
        """Send every probe request alone, through both protocols."""
        contract = self.bundle.contract
        for probe in self.probes.requests:
            for call, read in ((infer_call, read_infer), (invocations_call, read_invocations)):
                answer = self._ask(call(contract, [probe.row]))
                try:
                    problem = golden_problem(self.probes, probe, read(contract, answer)[0])
                except (ValueError, IndexError) as unreadable:
                    problem = f"{probe.name}: {unreadable}"
                if problem is None and answer.digest != self.bundle.digest:
                    problem = f"{probe.name}: answered by {answer.digest}"
                self._note("golden", "wrong", problem)

    def golden_together(self) -> None:
        """Send all probe requests as one batch, through both protocols: rows must not disturb each other."""
        contract, requests = self.bundle.contract, self.probes.requests
        for call, read in ((infer_call, read_infer), (invocations_call, read_invocations)):
            answer = self._ask(call(contract, [probe.row for probe in requests]))
            try:
                rows = read(contract, answer)
                found = [golden_problem(self.probes, probe, got) for probe, got in zip(requests, rows, strict=True)]
                problem = next((each for each in found if each), None)
            except ValueError as unreadable:
                problem = f"all together: {unreadable}"
            self._note("golden", "wrong", problem)

    def edge(self) -> None:
        """Send unusual requests that the contract allows."""
        contract = self.bundle.contract
        for name, row in edge_rows(contract, self.probes.requests[0].row):
            try:
                got = read_infer(contract, self._ask(infer_call(contract, [row])))
                problem = plausible_problem(contract, got[0])
            except (ValueError, IndexError) as unreadable:
                problem = str(unreadable)
            self._note("edge", "bad", problem and f"{name}: {problem}")

    def malformed(self) -> None:
        """Send requests that must be refused."""
        for each in malformed(self.bundle.contract, self.probes.requests[0].row):
            answer = self._ask(each.call)
            problem = refusal_problem(each, answer)
            self._note("malformed", problem or "", problem and f"{each.name} ({answer.status})")

    def measurements(self) -> dict[str, Json]:
        """Return what was asked and what was wrong, as the gates read it."""
        kinds = {
            "golden": ("wrong",),
            "edge": ("bad",),
            "malformed": ("accepted", "unnamed"),
            "answers": ("server_errors",),
        }
        return {part: self._part(part, wrongs) for part, wrongs in kinds.items()}

    def _part(self, part: str, wrongs: tuple[str, ...]) -> dict[str, Json]:
        told: dict[str, Json] = {"asked": self.asked[part]}
        for wrong in wrongs:
            told[wrong] = self.wrong[f"{part}.{wrong}"]
            told[f"{wrong}_names"] = self.culprits.get(f"{part}.{wrong}", [])[:_NAMED]
        return told

    def _ask(self, call: Call) -> Answer:
        answer = self.send(call)
        failed = answer.status >= 500
        self._note("answers", "server_errors", f"{call.method} {call.path}: {answer.status}" if failed else None)
        return answer

    def _note(self, part: str, wrong: str, problem: str | None) -> None:
        self.asked[part] += 1
        if problem:
            self.wrong[f"{part}.{wrong}"] += 1
            self.culprits.setdefault(f"{part}.{wrong}", []).append(problem)
