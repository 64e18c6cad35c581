"""The policies of a replay: the spec as it is, and the same with another file laid over it; each with its own stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from lockgate.adapters.replay_project import make_project, read_yaml, replay_settings
from lockgate.adapters.sample_batches import prepared_batch
from lockgate.bootstrap import Services
from lockgate.core.estimates import items
from lockgate.core.ids import Json, ModelName
from lockgate.core.replay_plan import months_of
from lockgate.core.replay_waits import Shortened, merged, without_waits
from lockgate.core.replay_words import aim_rows, failed_fits, headline, month_rows
from lockgate.core.spec import ReleaseSpec
from lockgate.core.spec_sections.release import ApprovalMode
from lockgate.errors import BadInput
from lockgate.line.replay_ground import REQUESTS, StackGround
from lockgate.line.replay_release import MACHINE_GATES, MOST_AGAIN
from lockgate.line.replay_state import Asked
from lockgate.line.replay_traffic import MONTH_RPS
from lockgate.line.replaying import Policy, Tell, replay
from lockgate.spec_file import parse_spec

AS_IT_IS: Final = "as specified"
_PEOPLE_DECIDE = ("notify", "train")
_CLIENTS: Final = (
    Shortened(what="a month's clients", was="one request a row", now=f"{REQUESTS:,} rows, at {MONTH_RPS:g} a second"),
    Shortened(what="a month's waits", was="a month, and until labels are known", now="the clock is moved on"),
    Shortened(
        what="a busy machine",
        was=f"a release ends inconclusive by gate {' or '.join(MACHINE_GATES)}",
        now=f"it is run again, at most {MOST_AGAIN} times",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants replayed.

    Attributes:
        model: Which model.
        since: The first month.
        until: The last one.
        over: Files with sections of a spec, each laid over it and replayed after it.
        output: Holds everything; None: a folder of these months under the installation's home.
    """

    model: ModelName
    since: str
    until: str
    over: Sequence[str | Path] = ()
    output: Path | None = None


def replayed(services: Services, wanted: Wanted, tell: Tell) -> tuple[dict[str, Json], Path]:
    """Replay what is wanted as far as it has not been, write the report, and return the result and the page.

    Args:
        services: Of the installation; only its project is read.
        wanted: What.
        tell: Told of each step.

    Raises:
        BadInput: A month, a file, a section in it or the output folder is wrong.
        NotBlessed: There is no first champion.
    """
    from lockgate.adapters.replay_report import write_report

    asked, policies = plan_replay(services, wanted)
    result = replay(asked, policies, tell)
    return result, write_report(result, asked.output)


def result_page(result: Mapping[str, Json], report: Path) -> str:
    """Return the result for a reader, in markdown."""
    lines = [f"# {result['model']}, {result['since']} to {result['until']}", "", f"The whole of it: `{report}`"]
    for policy in items(result.get("policies")):
        if isinstance(policy, Mapping):
            head, rows = month_rows(policy)
            lines += ["", f"## {policy['policy']}", "", f"{headline(policy)}.", ""]
            lines += [*(f"- {held}: {aim} ({told})" for aim, held, told in aim_rows(policy)), ""]
            lines += [f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)]
            lines += ["", *(f"- {each}" for each in failed_fits(policy))]
    return "\n".join(lines)


def plan_replay(services: Services, wanted: Wanted) -> tuple[Asked, tuple[Policy, ...]]:
    """Return what is replayed, and by which policies: the spec, then each file laid over it.

    Raises:
        BadInput: A month, a file or a section in it is wrong.
    """
    model, spec = wanted.model, services.spec(wanted.model)
    months = months_of(model, spec.data.sample_batches, wanted.since, wanted.until)
    named = services.settings.home / "replays" / f"{model}-{wanted.since}-{wanted.until}"
    output = (wanted.output or named).resolve()
    asked = Asked(model=model, since=wanted.since, until=wanted.until, months=months, output=output)
    given = read_yaml(services.settings.spec_file(model), f"the spec of {model}")
    policies = [_policy(services, asked, AS_IT_IS, given, {})]
    for path in map(Path, wanted.over):
        policies += [_policy(services, asked, path.stem, given, _sections(path))]
    names = [each.name for each in policies]
    if len(set(map(_folder, names))) != len(names):
        raise BadInput(f"--policy: two policies are called alike ({', '.join(names)}); rename a file")
    return asked, tuple(policies)


def _sections(path: Path) -> dict[str, Json]:
    sections = read_yaml(path, "--policy")
    fixed = sorted({"model", "task", "data"} & set(sections))
    if fixed:
        raise BadInput(
            f"--policy {path}: section {fixed[0]} says what the model is, which a policy does not change; leave it out"
        )
    return sections


def _policy(services: Services, asked: Asked, name: str, given: Mapping[str, Json], over: Mapping[str, Json]) -> Policy:
    whole = merged(given, over)
    level = whole.get("retraining")
    approves = isinstance(level, Mapping) and level.get("automation", "train") not in _PEOPLE_DECIDE
    if approves:  # the file may still ask for people, who are not asked in a replay
        whole = merged(whole, {"approval": {"mode": "when_all_pass", "four_eyes": False}})
    patient = parse_spec(whole, where=name)
    shorter, told = without_waits(patient)
    final = merged(whole, shorter)
    spec = parse_spec(final, where=name)
    folder = asked.output / _folder(name)
    ground = partial(_ground, services, asked, final, folder)
    told = (*told, *_CLIENTS)
    return Policy(name=name, spec=spec, shortened=told, ground=ground, people_each=_people(patient))


def _folder(policy: str) -> str:
    """Return the name of a policy's folder."""
    return policy.replace(" ", "-")


def _people(spec: ReleaseSpec) -> int:
    """Return how many people a spec asks to approve one release."""
    if spec.approval.mode is ApprovalMode.WHEN_ALL_PASS:
        return 0
    return 2 if spec.approval.four_eyes else 1


def _ground(services: Services, asked: Asked, spec: Mapping[str, Json], folder: Path) -> StackGround:
    make_project(services.settings.project, ModelName(asked.model), spec, folder / "project")
    own = services.spec(asked.model)
    first = prepared_batch(services.settings, own, asked.months.before[0])[own.data.time].min()
    return StackGround(settings=replay_settings(services.settings, folder, first.to_pydatetime()), model=asked.model)
