"""The picture of a study has a dot a run and says what is missing."""

from itertools import product

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from cvrl.report.study_plot import plot_study
from cvrl.utils.errors import UserError


def records(arms=("CVRL", "labels"), seeds=(0, 1, 2), protocols=("knn", "linear")):
    for arm, seed, protocol in product(arms, seeds, protocols):
        shares = {"trained": 0.5 + 0.01 * seed, "untrained": 0.3, "chance": 0.25}
        for row, top1 in shares.items():
            yield {"arm": arm, "seed": seed, "protocol": protocol, "row": row, "top1": top1}


def test_a_picture_is_written_whole(tmp_path):
    plot_study(list(records()), tmp_path / "study.png")
    height, width, _ = matplotlib.image.imread(tmp_path / "study.png").shape
    assert width > 800 and height > 150
    assert [file.name for file in tmp_path.iterdir()] == ["study.png"]


def test_every_run_is_a_dot_at_its_score(tmp_path, monkeypatch):
    drawn, save = [], Figure.savefig

    def watched(figure, *args, **kwargs):
        drawn.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", watched)
    plot_study(list(records()), tmp_path / "study.png")
    knn, linear = drawn[0].axes
    assert (knn.get_title(), linear.get_title()) == ("knn top-1 %", "linear top-1 %")
    dots = [line for line in knn.lines if line.get_marker() == "o"]
    assert [list(dot.get_xdata()) for dot in dots] == [[50.0, 51.0, 52.0]] * 2
    lines = {line.get_label(): line.get_xdata()[0] for line in knn.lines if line not in dots}
    assert lines == {"random init": pytest.approx(30.0), "chance": pytest.approx(25.0)}


def test_scores_that_are_no_top1_are_left_out(tmp_path):
    other = {"arm": "CVRL", "seed": 0, "protocol": "pretext", "row": "trained", "share": 0.4}
    plot_study([*records(), other], tmp_path / "study.png")
    with pytest.raises(UserError, match="no results to plot"):
        plot_study([other], tmp_path / "empty.png")


def test_many_arms_make_a_taller_picture(tmp_path):
    plot_study(list(records()), tmp_path / "few.png")
    plot_study(list(records(arms=[f"arm {n}" for n in range(12)])), tmp_path / "many.png")
    few, many = (matplotlib.image.imread(tmp_path / f"{n}.png").shape[0] for n in ("few", "many"))
    assert many > 2 * few
