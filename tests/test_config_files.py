"""Configs of the package, found by name."""

import pytest

from cvrl.config import load_config
from cvrl.config_files import FACTS, FOLDER, all_info, config_names, find_config, read_info
from cvrl.engine.studies.study import load_study
from cvrl.utils.errors import UserError

FILES = sorted(file for file in FOLDER.glob("*/*.yaml") if file.parent.name != "base")


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_config_is_found_by_its_names_from_anywhere(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"{file.parent.name}/{file.stem}"
    assert find_config(name) == find_config(f"configs/{name}.yaml") == file
    folder = "studies" if file.parent.name == "studies" else None
    short = [known for known in config_names(folder) if known.split("/")[-1] == file.stem]
    assert find_config(short[0] if len(short) == 1 else name, folder) == file


def test_a_file_of_the_user_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "configs" / "pretrain" / "cvrl_small.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: mine\n")
    assert load_config("configs/pretrain/cvrl_small.yaml", ["data.train=x"]).name == "mine"
    (tmp_path / "cvrl_small").mkdir()  # a folder of that name, such as a run's, is no config
    assert load_config("cvrl_small", ["data.train=x"]).name == "cvrl_small"


@pytest.mark.parametrize("name", ["cvrl_small.yaml", "configs/none.yaml", "runs/x/config.yaml"])
def test_a_path_that_is_not_there_never_means_another_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such file or directory"):
        load_config(name)


def test_a_name_of_several_configs_is_refused():
    with pytest.raises(UserError, match="give finetune/hf or linear/hf"):
        find_config("hf")


def test_names_by_folder():
    names = config_names()
    assert {"cvrl_small", "finetune/hf", "linear/hf"} <= set(names) and "hf" not in names
    assert len(names) == len(set(names))
    assert load_study("evidence_small").name == "evidence_small"
    assert find_config("small_cvrl").parent.name == "linear"
    assert find_config("small_cvrl", "studies").parent.name == "studies"
    with pytest.raises(UserError, match="no such folder of configs; did you mean pretrain"):
        all_info("pretrian")


def test_the_header_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("cvrl.config_files.FOLDER", tmp_path)
    file = tmp_path / "pretrain" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(
        "# One line\n# or two.\n#\n# Paper: A et al.,\n#   arXiv 1.\n# Hardware: one: core.\n"
        "# Time: 1 minute.\n#\n#   tools/x.py\n\nname: mine  # Time: never\n"
    )
    info = read_info(file)
    assert (info.name, info.title) == ("pretrain/mine", "One line or two.")
    facts = {"Paper": "A et al., arXiv 1.", "Hardware": "one: core.", "Time": "1 minute."}
    assert info.facts == facts


def test_every_config_of_a_run_states_its_facts():
    for info in [*all_info(), *all_info("studies")]:
        assert info.title and set(info.facts) == set(FACTS), info.name
