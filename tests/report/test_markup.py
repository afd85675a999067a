"""Pieces of HTML: well formed, and deaf to what a name may try."""

from html.parser import HTMLParser

import pytest

from cvrl.report import markup

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


@pytest.mark.parametrize(
    "piece",
    [
        markup.section(NASTY, NASTY, markup.paragraph(NASTY)),
        markup.paragraph(NASTY, NASTY),
        markup.table([NASTY, "n"], [[NASTY, "1"]], numeric=1),
        markup.bars([(NASTY, 0.5)]),
        markup.details(NASTY, ""),
        markup.code(NASTY),
        markup.figure("data:,x", NASTY, NASTY),
        markup.document(NASTY, "", [], ""),
    ],
)
def test_a_text_stays_a_text(piece: str) -> None:
    outline = Outline(piece)
    assert NASTY in outline.text or any(NASTY in (a.get("alt") or "") for _, a in outline.tags)
    assert not any("onerror" in attributes for _, attributes in outline.tags)


def test_a_document_is_whole() -> None:
    page = markup.document("t", "<h1>h</h1>", ["<section></section>"] * 2, "foot")
    assert page.startswith("<!doctype html>")
    outline = Outline(page)
    assert outline.count("section") == 2 and outline.count("style") == 1
    assert ("html", {"lang": "en"}) in outline.tags
    assert any(a.get("name") == "viewport" for tag, a in outline.tags if tag == "meta")


def test_a_section_leaves_out_what_is_empty() -> None:
    assert markup.section("a", "A", "", "<p>x</p>", "").count("\n") == 3


def test_numbers_stand_right() -> None:
    outline = Outline(markup.table(["name", "x", "y"], [["a", "1", "2"]], numeric=2))
    kinds = [attributes.get("class") for tag, attributes in outline.tags if tag in ("th", "td")]
    assert kinds == [None, "n", "n"] * 2


def test_a_bar_is_as_wide_as_its_share() -> None:
    outline = Outline(markup.bars([("trained", 1.0), ("chance", 0.5), ("none", 0.0)]))
    widths = [a["style"] for _, a in outline.tags if "style" in a]
    assert widths == ["width:78.0%", "width:39.0%", "width:0.0%"]


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.12345, "12.3 %"), (None, "-")]
)
def test_percent(share: float | None, text: str) -> None:
    assert markup.percent(share) == text


def test_the_style_serves_light_and_dark_and_small() -> None:
    assert "prefers-color-scheme:dark" in markup.STYLE
    assert "@media(max-width" in markup.STYLE
    assert "url(" not in markup.STYLE and "@import" not in markup.STYLE
