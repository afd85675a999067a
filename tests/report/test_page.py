"""The whole page: one file, nothing fetched, readable without labels and without results."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvrl.data.manifest import Manifest
from cvrl.report import page
from cvrl.report.comparison import Comparison
from cvrl.report.page import render, write_report
from cvrl.report.run_summary import RunSummary, read_run
from cvrl.report.sections import Content
from cvrl.report.training_pairs import Pair

ALL = [anchor for anchor, _, _ in page.SECTIONS]
Write = Callable[..., str]


class Addresses(HTMLParser):
    """Everything a page would load or lead to, and the ids it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.ids: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for key, value in attrs:
            if key in ("src", "srcset", "poster", "data"):
                self.loaded.append(value or "")
            elif key in ("href", "xlink:href"):
                self.linked.append(value or "")
            elif key == "id" and tag == "section":
                self.ids.append(value or "")


@pytest.fixture
def write(run_folder: Path, tmp_path: Path, comparison: Comparison) -> Write:
    """Write the page of a copy of the run and give its text."""

    def call(shown: Comparison = comparison, **changes: object) -> str:
        folder = tmp_path / "small"
        shutil.copytree(run_folder, folder, dirs_exist_ok=True)
        run = replace(read_run(folder, clips_per_step=8), **changes)
        clips = np.zeros((2, 3, 8, 8, 3), np.uint8)
        html, png = write_report(run, shown, [Pair("hop", clips)], k=5, searches=2)
        assert html == folder / "report.html" and png == folder / "report.png"
        with Image.open(png) as picture:
            assert picture.format == "PNG" and min(picture.size) > 200
        return html.read_text("utf-8")

    return call


def test_the_page_has_every_section_and_a_way_to_it(write: Write) -> None:
    addresses = Addresses(write())
    assert addresses.ids == ALL
    assert [link for link in addresses.linked if link.lstrip("#") in ALL] == [f"#{a}" for a in ALL]


def test_the_page_asks_for_nothing_from_elsewhere(write: Write) -> None:
    text = write()
    addresses = Addresses(text)
    assert len(addresses.loaded) > 10
    assert all(address.startswith("data:image/") for address in addresses.loaded)
    assert all(link.startswith("#") for link in addresses.linked)
    assert not addresses.names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"url\((?!#)", text) and "@import" not in text


def test_without_labels_the_page_shows_what_it_can(write: Write, unlabelled: Comparison) -> None:
    addresses = Addresses(write(unlabelled))
    assert addresses.ids == [anchor for anchor in ALL if anchor != "perturbations"]


def test_a_run_that_was_not_evaluated_has_a_page(write: Write) -> None:
    text = write(results=[], metrics=[], environment="")
    assert "Not evaluated yet" in text
    assert Addresses(text).ids == [a for a in ALL if a not in ("results", "training")]


def test_names_of_classes_and_files_are_text(write: Write, comparison: Comparison) -> None:
    nasty = "<script>alert('x')</script>"

    def renamed(part: Manifest) -> Manifest:
        column = part.table.column_names.index("label")
        labels = [nasty] * len(part)
        names = [nasty, "right"]
        table = part.table.set_column(column, "label", [labels])
        return replace(part, table=table, class_names=names)

    assert comparison.train is not None
    shown = replace(comparison, test=renamed(comparison.test), train=renamed(comparison.train))
    text = write(shown)
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text


def test_a_page_is_replaced_as_a_whole(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write()

    def fail(_: Content) -> str:
        raise RuntimeError("half way")

    monkeypatch.setattr(page, "render", fail)
    with pytest.raises(RuntimeError, match="half way"):
        write()
    folder = tmp_path / "small"
    assert (folder / "report.html").read_text("utf-8") == before
    assert not [path for path in folder.iterdir() if ".tmp" in path.name]


def test_the_same_content_gives_the_same_page(summary: RunSummary, comparison: Comparison) -> None:
    from cvrl.report.neighbours import find_neighbours

    hood = find_neighbours(comparison, shown=1)
    content = Content(summary, comparison, hood, pairs=[])
    assert render(content) == render(content)
