"""Drawings: valid, of the page's own ink, and the summary picture."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cvrl.report.plots import INK, confusion, curve, inline_svg, summary_png


def parsed(drawing: str) -> ET.Element:
    """An SVG as a page would read it, which knows the xlink prefix without being told."""
    return ET.fromstring(drawing.replace("<svg", '<svg xmlns:xlink="x"', 1))


def texts(drawing: str) -> list[str]:
    return ["".join(element.itertext()) for element in parsed(drawing).iter("text")]


def test_a_curve_takes_its_ink_and_its_width_from_the_page() -> None:
    drawing = curve([0, 1, 2], [3.0, 2.0, 1.0], "loss")
    root = parsed(drawing)
    assert "viewBox" in root.attrib and "width" not in root.attrib
    assert "currentColor" in drawing and INK not in drawing
    assert "loss" in texts(drawing) and "epoch" in texts(drawing)


def test_a_curve_of_shares_is_drawn_in_percent() -> None:
    assert "80" in texts(curve([0, 1], [0.2, 0.8], "kNN", percent=True))


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e-9, 1e9]])
def test_odd_curves_can_be_drawn(values: list[float]) -> None:
    assert parsed(curve(list(range(len(values))), values, "x")) is not None


def test_the_same_numbers_give_the_same_drawing() -> None:
    assert curve([0, 1], [1, 2], "x") == curve([0, 1], [1, 2], "x")


@pytest.mark.parametrize("title", ['a "b" <c> & d', "$x^2$", "日本"])
def test_titles_are_text_and_nothing_else(title: str) -> None:
    drawing = curve([0, 1], [1, 2], title)
    assert parsed(drawing).attrib["role"] == "img"
    assert title in texts(drawing)


def test_a_confusion_shows_the_counts_that_are_not_zero() -> None:
    counts = np.array([[3, 1], [0, 4]])
    shown = texts(confusion(counts, ["hop", "a$b$"], "answers"))
    assert [text for text in shown if text.isdigit()] == ["3", "1", "4"]
    assert shown.count("hop") == 2 and shown.count("a$b$") == 2


def test_a_class_without_test_videos_is_an_empty_row() -> None:
    assert parsed(confusion(np.array([[0, 0], [1, 1]]), ["a", "b"], "x")) is not None


def test_a_figure_says_what_it_shows() -> None:
    figure = Figure()
    figure.add_subplot()
    assert parsed(inline_svg(figure, "three points")).attrib["aria-label"] == "three points"


# --- the summary picture -------------------------------------------------------------------------


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def share_of(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(image - colour).max(axis=2) < 12).mean())


def test_the_bars_are_as_long_as_the_scores(tmp_path: Path) -> None:
    shares = []
    for trained in (0.8, 0.4):
        summary_png(tmp_path / "s.png", {"trained": trained, "chance": 0.8}, "kNN", [])
        shares.append(share_of(pixels(tmp_path / "s.png"), (59, 130, 196)))
    assert shares[0] == pytest.approx(2 * shares[1], rel=0.05)


def test_neighbours_stand_beside_the_bars(tmp_path: Path) -> None:
    red = np.zeros((9, 12, 3), np.uint8) + np.array([250, 0, 0], np.uint8)
    strip = [(red, "query", None), (red, "a_b", True), (red, "$c", False)]
    summary_png(tmp_path / "s.png", {"trained": 0.5}, "kNN", [("trained", strip), ("new", strip)])
    image = pixels(tmp_path / "s.png")
    assert share_of(image, (250, 0, 0)) > 0.1
    assert share_of(image, (46, 158, 91)) > 0 and share_of(image, (209, 73, 91)) > 0
    assert (image[[0, -1]] == 255).all()


def test_rows_may_be_of_different_length(tmp_path: Path) -> None:
    grey = np.full((4, 4, 3), 90, np.uint8)
    strips = [("a", [(grey, "x", None)]), ("b", [(grey, "y", None), (grey, "z", True)])]
    summary_png(tmp_path / "s.png", {"trained": 0.0}, "kNN", strips)
    assert pixels(tmp_path / "s.png").shape[2] == 3


def test_no_scores_leave_room_for_neighbours(tmp_path: Path) -> None:
    grey = np.full((4, 4, 3), 90, np.uint8)
    summary_png(tmp_path / "s.png", {}, "not evaluated", [("a", [(grey, "x", None)])])
    assert share_of(pixels(tmp_path / "s.png"), (90, 90, 90)) > 0.01
