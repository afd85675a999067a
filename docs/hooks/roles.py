"""Turns the cross-references of docstrings into links, for the site (see mkdocs.yml).

Docstrings say ``:func:`cvrl.run.train```, as Sphinx does and editors show; here the name becomes a
link where the API page has it, and code elsewhere.
"""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites the docstring of each object that is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Replace the roles of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(link, obj.docstring.value)


def link(role: re.Match[str]) -> str:
    """The HTML of a reference, which may lead nowhere.

    Example:
        >>> link(ROLE.search("see :func:`cvrl.run.train`"))
        '<autoref identifier="cvrl.run.train" optional><code>cvrl.run.train</code></autoref>'
    """
    name = role[1]
    return f'<autoref identifier="{name}" optional><code>{name}</code></autoref>'
