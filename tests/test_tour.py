"""The notebook of the documentation runs from folder to prediction, and shows what it says.

``python tests/test_tour.py`` runs it in its folder and stores the outputs in it.
"""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[1] / "docs"


def execute(folder):
    """The notebook with the outputs of a run in a folder beside ``datasets/``."""
    environment = {
        "PYTHONPATH": str(DOCS.parent),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    notebook = nbformat.read(DOCS / "tour.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(folder)}})
    return client.execute(env=os.environ | environment)


def output(notebook, containing):
    """The text that the cell with some code returned."""
    (cell,) = [cell for cell in notebook.cells if containing in cell.source]
    return cell.outputs[-1]["data"]["text/plain"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tour_runs_and_its_encoder_beats_random_init(tmp_path):
    shutil.copytree(DOCS.parent / "datasets", tmp_path / "datasets")
    (tmp_path / "docs").mkdir()
    notebook = execute(tmp_path / "docs")
    assert "'trained'" in output(notebook, "result.rows")
    scores = eval(output(notebook, "result.rows"))  # a dict of numbers
    assert scores["trained"] > scores["untrained"] + 5
    answer = eval(output(notebook, "answers.class_names"))
    assert len(answer) == 4 and sum(answer.values()) == pytest.approx(1, abs=1e-5)
    assert "'vector'" in output(notebook, "table.column_names")


def test_the_stored_outputs_are_those_of_the_cells_as_they_are():
    notebook = nbformat.read(DOCS / "tour.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]


if __name__ == "__main__":
    nbformat.write(execute(DOCS), DOCS / "tour.ipynb")
