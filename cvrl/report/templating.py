"""Render the page's Jinja2 templates; every text is escaped, only SVG plots are not."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cvrl.evaluation.card import percent
from cvrl.evaluation.metrics import row_title


def render_template(template: str, /, **values: Any) -> str:
    """Render a template of ``cvrl/report/templates``.

    Args:
        template: file name.
        values: what the template refers to; strings are escaped.

    Raises:
        jinja2.UndefinedError: a value that the template needs is missing.

    Example:
        >>> section = {"commands": ["a < b"], "config": "", "environment": ""}
        >>> render_template("reproduce.html.j2", section=section).splitlines()[0]
        '<pre>a &lt; b</pre>'
    """
    environment = Environment(
        loader=PackageLoader("cvrl.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(percent=percent, row_title=row_title)
    return environment.get_template(template).render(values)
