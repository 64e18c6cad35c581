"""The board as one HTML page: nothing is loaded from anywhere, and it can be read without a script.

Served, it carries a few lines of script that bring it up to date; written as a file, none. Its policy lets nothing run
or be drawn but what stands in it, by digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Final

from lockgate.adapters.pages import page_environment
from lockgate.core.board import BoardContent

if TYPE_CHECKING:
    import jinja2

_COMMAND: Final = re.compile(r"""(?:(?<=^)|(?<=[:;] ))(lockgate(?: "[^"]*"| '[^']*'|:(?=\S)|[^;:])+)""")
"""A clause ends with `;`, or with `:` and a space: `MODEL:ALERT` and a time have colons, and quotes hold anything."""
_PARTS: Final = {"style": "board.css.j2", "script": "board.js.j2"}


def board_html(content: BoardContent, *, live: bool) -> str:
    """Return the page.

    Args:
        content: What it says.
        live: Whether it is served, and brings itself up to date.
    """
    from lockgate.adapters.board_view import facts, figures, headline, needs, shown

    style, script = (_source(name) for name in _PARTS.values())
    return _environment().get_template("board.html.j2").render(
        content=content, live=live, headline=headline(content), needs=needs(content), style=style, script=script,
        policy=policy(live=live), figures={each.model: figures(each) for each in content.models},
        facts={each.model: facts(each) for each in content.models},
        shown={each.model for each in content.models if shown(each)},
    )  # fmt: skip


@cache
def policy(*, live: bool) -> str:
    """Return the page's Content-Security-Policy."""
    rules = ["default-src 'none'", f"style-src '{_digest('style')}'", "base-uri 'none'", "form-action 'none'"]
    if live:
        rules += [f"script-src '{_digest('script')}'", "connect-src 'self'"]
    return "; ".join(rules)


def _digest(part: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_source(_PARTS[part]).encode()).digest()).decode()


@cache
def _source(name: str) -> str:
    """Return a part that stands in the page as it is: ours, and nothing of anybody else in it."""
    from markupsafe import Markup

    return Markup(_environment().get_template(name).render())  # noqa: S704 - a file of this package


def _steps(text: str) -> str:
    """Return what comes next with its commands drawn as such: a command begins a clause and ends with it.

    >>> _steps("first look: lockgate status; a < b")
    Markup('<small>first look: </small><code class="do">lockgate status</code><small>; a &lt; b</small>')
    >>> _steps("lockgate alert ack toy:loss; see why")
    Markup('<code class="do">lockgate alert ack toy:loss</code><small>; see why</small>')
    """
    from markupsafe import Markup

    parts = _COMMAND.split(text)  # words and commands in turn
    drawn = (
        Markup('<code class="do">{}</code>').format(part) if at % 2 else Markup("<small>{}</small>").format(part)
        for at, part in enumerate(parts)
        if part
    )
    return Markup("").join(drawn)


@cache
def _environment() -> jinja2.Environment:
    from lockgate.adapters.board_view import ago, told
    from lockgate.adapters.dossier_words import sentence

    return page_environment(ago=ago, sentence=sentence, told=told, steps=_steps)
