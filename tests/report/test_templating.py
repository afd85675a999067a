"""Templates: well-formed HTML with every text escaped."""

from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from cvrl.report.templating import render_template

NASTY = '<img src=x onerror="alert(1)">&\'</style>'
VOID = {"meta", "img", "br", "link"}


class Outline(HTMLParser):
    """Checks that tags close in order; keeps tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


RESULTS = {"head": [NASTY, "n"], "rows": [[NASTY, "1"]], "warnings": [NASTY], "card": NASTY}
HIT = {"source": "data:,x", "caption": NASTY, "right": True}
SECTIONS = {
    "results": {"tables": [RESULTS]},
    "perturbations": {
        **{"n_test": 4, "n_train": 8, "confusion": ""},
        **{"head": ["", "kNN"], "rows": [[NASTY, "1"]]},
    },
    "neighbours": {
        **{"by_label": True, "k": 1, "queries": 1, "trained": 0.5, "random_init": 0.25},
        "searches": [{"source": "data:,x", "caption": NASTY, "found": {"trained": [HIT]}}],
    },
    "map": {
        "method": "PCA",
        "videos": 2,
        "drawings": {"trained": "<svg></svg>"},
        "colours": {NASTY: "#f00"},
    },
    "training": {"steps": 10, "seconds": 60.0, "drawings": ["<svg></svg>"]},
    "clips": {"pairs": [{"caption": NASTY, "sources": ["data:,x", "data:,y"]}]},
    "data": {
        **{"splits": [[NASTY, 1, 1, 1]], "head": ["class", "test"], "by_class": [[NASTY, 1]]},
        "unreadable": [(NASTY, NASTY)],
    },
    "reproduce": {"commands": [NASTY], "config": NASTY, "environment": NASTY},
}


def page(**changes: object) -> str:
    sections = [(name, name.title(), values) for name, values in SECTIONS.items()]
    values = {"name": "run", "headline": "h", "bars": {"trained": 0.5}, "sections": sections}
    return render_template("page.html.j2", **{**values, **changes})


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "training"])
def test_text_is_escaped(section: str) -> None:
    outline = Outline(render_template(f"{section}.html.j2", section=SECTIONS[section]))
    assert NASTY in outline.text or any(NASTY in (a.get("alt") or "") for _, a in outline.tags)
    assert not any("onerror" in attributes for _, attributes in outline.tags)


def test_the_page_is_a_whole_document() -> None:
    text = page(name=NASTY)
    assert text.startswith("<!doctype html>")
    outline = Outline(text)
    assert outline.count("section") == len(SECTIONS) and outline.count("style") == 1
    assert ("html", {"lang": "en"}) in outline.tags
    assert any(a.get("name") == "viewport" for tag, a in outline.tags if tag == "meta")
    assert not any("onerror" in attributes for _, attributes in outline.tags)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="commands"):
        render_template("reproduce.html.j2", section={"config": "", "environment": ""})


def test_columns_of_numbers_are_aligned_right() -> None:
    outline = Outline(render_template("results.html.j2", section=SECTIONS["results"]))
    kinds = [attributes.get("class") for tag, attributes in outline.tags if tag in ("th", "td")]
    assert kinds == [None, "n"] * 2


def test_a_bar_is_as_wide_as_its_share() -> None:
    outline = Outline(page(bars={"trained": 1.0, "untrained": 0.5, "tau": -0.2}))
    widths = [a["style"] for tag, a in outline.tags if "style" in a and tag == "span"]
    assert widths == ["width:78.0%", "width:39.0%", "width:0.0%"]
    assert "random init" in outline.text and "50.0 %" in outline.text


def test_the_style_covers_dark_mode_and_phones() -> None:
    text = page()
    assert "prefers-color-scheme:dark" in text and "@media(max-width" in text
    assert "url(" not in text and "@import" not in text
