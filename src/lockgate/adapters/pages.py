"""How pages are made of templates: escaped, strict about what is missing, with pictures of our own as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def page_environment(**filters: Callable[..., Any]) -> jinja2.Environment:
    """Return the environment of this package's templates.

    Args:
        filters: Beside `drawn`, which stands in a page as it is: drawn by us from numbers, and names of the data in it
            were escaped where it was drawn.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockgate.adapters", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"drawn": Markup, **filters}
    return environment
