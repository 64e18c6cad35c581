"""What the documents say exists: every command, every make target, every link, every picture."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from lockgate.cli.app import app
from lockgate.core.rollout.steps import course_of
from lockgate.spec_file import parse_spec

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda page: page.relative_to(ROOT).as_posix())
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group, by its commands
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPEC_EXAMPLES = ROOT / "docs" / "howto" / "set-the-gates.md"
PICTURE_BYTES = 300_000
PLACEHOLDERS = {"RELEASE", "MODEL", "FILE", "FILE.parquet", "NAME", "TIME", "..."}

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def code_lines(page: Path) -> Iterator[str]:
    """Yield what a reader may type: lines of shell blocks, and code within sentences."""
    text = page.read_text(encoding="utf-8")
    for language, body in FENCE.findall(text):
        if language in ("sh", "console"):
            yield from (line.strip() for line in body.replace("\\\n", " ").splitlines())
    for code in INLINE.findall(FENCE.sub("", text)):
        yield from (part.strip() for part in code.split("&&"))


def words_of(line: str) -> list[str]:
    """Return a line's words, without a comment and without `NAME=value` in front."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # a piece of prose with an apostrophe
        return []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def commands_of(page: Path, program: str) -> list[list[str]]:
    found = (words_of(line) for line in code_lines(page))
    return [words[1:] for words in found if len(words) > 1 and words[0] == program]


def command_of(words: list[str]) -> object:
    """Return the command that words name; of a group, the second word's, which must be one of it."""
    command = COMMANDS.get(words[0])
    within = getattr(command, "commands", None)
    if within is None or len(words) < 2 or words[1].startswith("-"):
        return command
    assert set(words[1].split("|")) <= set(within), f"there is no lockgate {' '.join(words[:2])}"
    return within[words[1].split("|")[0]]


@page_by_page
def test_every_lockgate_command_exists_with_its_options(page: Path) -> None:
    for words in commands_of(page, "lockgate"):
        if words[0] in ("up", "--help") or words[0] in COMMANDS:
            command = command_of(words)
            known = {"--help", "-h"} | {name for each in getattr(command, "params", ()) for name in each.opts}
            options = [word.partition("=")[0] for word in words[1:] if word.startswith("-") and not word[1:2].isdigit()]
            passed_on = words[0] == "serve"
            assert passed_on or set(options) <= known, f"lockgate {' '.join(words)}: known are {sorted(known)}"
        else:
            alternatives = {word.strip("|,") for word in words if word not in {"|"} | PLACEHOLDERS}
            assert alternatives <= set(COMMANDS), f"there is no lockgate {' '.join(words)}"


@page_by_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands_of(page, "make"):
        asked = {word for word in words if "=" not in word and not word.startswith("-")}
        assert asked <= targets, f"make {' '.join(words)}: targets are {sorted(targets)}"


@page_by_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{page.relative_to(ROOT)} links to {target}: no such heading"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def yaml_blocks(page: Path) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language == "yaml"]


def laid_over(spec: dict[str, object], part: dict[str, object]) -> dict[str, object]:
    """Return a spec with a part of one in it, section by section."""
    laid = dict(spec)
    for key, value in part.items():
        under = laid.get(key)
        laid[key] = laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return laid


@pytest.mark.parametrize("part", [*yaml_blocks(SPEC_EXAMPLES), *yaml_blocks(SPEC_EXAMPLES.with_name("roll-out.md"))])
def test_every_part_of_a_spec_that_is_shown_makes_the_example_a_spec(part: str) -> None:
    example = yaml_blocks(SPEC_EXAMPLES.with_name("own-model.md"))[0]
    spec = parse_spec(laid_over(yaml.safe_load(example), yaml.safe_load(part)))
    course_of(spec.rollout, sd=None)  # which refuses steps that a spec may hold and no rollout can carry out


def test_what_binds_is_told_of_every_gate() -> None:
    from lockgate.core.gates.registry import GATES, names

    rows = re.findall(r"^\| (`.*?) \|", SPEC_EXAMPLES.read_text(encoding="utf-8"), re.MULTILINE)
    told = [gate for row in rows for gate in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(names(GATES))


def test_every_picture_is_shown_somewhere_and_small() -> None:
    shown = {
        (page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text(encoding="utf-8"))
    }
    for picture in sorted((ROOT / "docs" / "images").iterdir()):
        assert picture.resolve() in shown, f"{picture.name} is shown on no page"
        assert picture.stat().st_size < PICTURE_BYTES, f"{picture.name} is {picture.stat().st_size} bytes"


def test_the_stages_and_gates_of_the_readme_are_those_there_are() -> None:
    from lockgate.core.gates.registry import GATES

    rows = re.findall(r"^\| \d+ \| `(\w+)` \|.*\|(.*?)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    told = {gate: stage for stage, gates in rows for gate in re.findall(r"`(\w+)`", gates)}
    assert len(rows) == 11
    assert told == {gate.name: gate.stage.value for gate in GATES}


def test_no_document_names_a_path_of_somebodys_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(tmp|work|home/\w+|Users)/", page.read_text(encoding="utf-8")), page.name
