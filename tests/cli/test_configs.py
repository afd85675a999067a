"""``cvrl configs``."""

import pytest

from cvrl.cli import main
from cvrl.config_files import FOLDER
from cvrl.utils.errors import UserError


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")


def test_the_table_has_every_config_of_a_run(capsys):
    main(["configs"])
    shown = capsys.readouterr().out
    files = [
        file for file in FOLDER.glob("*/*.yaml") if file.parent.name not in ("base", "studies")
    ]
    assert all(f" {file.parent.name}/{file.stem} " in shown for file in files)
    row = next(line for line in shown.splitlines() if " pretrain/sce_small " in line)
    assert "arXiv 2111.14585" in row and "1 CPU core" in row and "10 minutes for 680 videos" in row
    assert "studies/" not in shown and "base/" not in shown


def test_a_folder_and_a_file(capsys):
    main(["configs", "studies"])
    shown = capsys.readouterr().out
    assert "studies/evidence_small" in shown and "pretrain/" not in shown
    main(["configs", "cvrl_small"])
    assert capsys.readouterr().out == (FOLDER / "pretrain" / "cvrl_small.yaml").read_text()


def test_a_name_that_is_none():
    with pytest.raises(UserError, match="no such file or config; did you mean cvrl_small"):
        main(["configs", "cvrl_smal"])
