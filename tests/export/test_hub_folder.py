"""Hub folders: the weights of the run, a config beside them, and the card."""

import hashlib
import json

import pytest
import torch
import yaml

from cvrl import load_classifier, load_encoder
from cvrl.cli import main
from cvrl.config import Config, DataConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.evaluation.card import Result, Row, example_card
from cvrl.export.hub_folder import write_hub_folder
from cvrl.export.model_card import without_folders
from cvrl.models.backbones import build_encoder
from cvrl.models.heads import ClassHead
from cvrl.pretrained import save_model
from cvrl.utils.errors import UserError

TERMS = "research use only (www.example.org)"


@pytest.fixture
def run(tmp_path):
    """A run with a result and a list whose folders must not be told."""
    folder = tmp_path / "runs" / "mine"
    encoder = build_encoder("r3d_small", width=4)
    head = ClassHead(encoder.dim, ["run", "jump"])
    save_model(folder / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32, class_head=head)
    data = DataConfig(train="/home/ann/lists/train.csv", hold_out=0.25)
    save_config(Config(name="x", data=data), folder / "config.yaml")
    rows = [Row("trained", {"top1": 0.5, "top5": None}), Row("chance", {"top1": 0.25})]
    card = {**vars(example_card()), "test": "/home/ann/lists/test.csv", "n_missing": 1}
    card |= {"n_listed": 9, "missing": ["/home/ann/videos/a.mp4: no such file"]}
    Result(type(example_card())(**card), rows).write(folder / "eval")
    (folder / "eval" / "pretext.json").write_text("{}")
    return folder


def front_matter(text):
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_folder_holds_the_weights_of_the_run_and_loads(run, tmp_path, capsys):
    folder = tmp_path / "hub"
    command = ["export", "--checkpoint", str(run), "--format", "hub", "--output", str(folder)]
    main([*command, "--data-license", TERMS])
    assert capsys.readouterr().out == f"wrote {folder}\n"
    assert {f.name for f in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    digests = [
        hashlib.sha256((f / "model.safetensors").read_bytes()).digest() for f in (run, folder)
    ]
    assert digests[0] == digests[1]
    clips = torch.rand(2, 3, 8, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_encoder(folder)(clips), load_encoder(run)(clips))
    assert load_classifier(str(folder)).class_names == ["run", "jump"]
    config = json.loads((folder / "config.json").read_text())
    assert config["library_name"] == "cvrl" and config["encoder"]["width"] == 4
    assert config["clip"]["stride"] == 2 and config["class_head"]["class_names"] == ["run", "jump"]


def test_the_card_states_data_scores_and_their_protocol(run, tmp_path):
    text = (write_hub_folder(run, tmp_path / "hub", data_license=TERMS) / "README.md").read_text()
    meta = front_matter(text)
    assert meta["library_name"] == "cvrl" and meta["pipeline_tag"] == "video-classification"
    assert "license" not in meta and {"simclr", "temporal_pair"} <= set(meta["tags"])
    assert "- Training videos: train.csv" in text and "25 % of the groups" in text
    assert f"- Licence of the training videos: {TERMS}" in text
    assert "- Licence of the weights: not stated" in text
    assert "### knn" in text and "| trained | 50.0 | - |" in text
    assert "9 listed, 8 scored, 1 MISSING (a.mp4: no such file)" in text
    assert "home" not in text and "ann/" not in text
    assert "train: train.csv" in text, "the config of the run"


def test_the_licence_of_the_weights_goes_into_the_metadata(run, tmp_path):
    write_hub_folder(run, tmp_path / "hub", data_license=TERMS, license="apache-2.0")
    text = (tmp_path / "hub" / "README.md").read_text()
    assert front_matter(text)["license"] == "apache-2.0"
    assert "- Licence of the weights: apache-2.0" in text


def test_a_file_of_weights_alone_has_a_card_that_says_what_is_not_known(tmp_path):
    file = tmp_path / "x.safetensors"
    save_model(file, build_encoder("r3d_small", width=4), clip=ClipSpec(8, 2), size=32)
    text = (write_hub_folder(file, tmp_path / "hub", data_license=TERMS) / "README.md").read_text()
    assert "unknown: the run has no config" in text and "Not evaluated." in text
    assert front_matter(text)["pipeline_tag"] == "feature-extraction"
    assert "load_classifier" not in text


@pytest.mark.parametrize("given", [[], ["--data-license", " "]])
def test_without_the_licence_of_the_data_nothing_is_written(run, tmp_path, given):
    command = ["export", "--checkpoint", str(run), "--format", "hub", "--output"]
    with pytest.raises(UserError, match=r"--data-license: the licence .* is missing; state it"):
        main([*command, str(tmp_path / "hub"), *given])
    assert not (tmp_path / "hub").exists()


def test_a_result_that_cannot_be_read_is_named(run, tmp_path):
    (run / "eval" / "knn.json").write_text("{}")
    with pytest.raises(UserError, match=r"knn.json: is not a result; delete it"):
        write_hub_folder(run, tmp_path / "hub", data_license=TERMS)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/a/b/c.mp4: bad", "c.mp4: bad"),
        ("~/videos, ../x/y", "videos, y"),
        ("0.25 of list.csv, 1/2", "0.25 of list.csv, 1/2"),
        ("https://a.org/b/c", "https://a.org/b/c"),
        ("train: '/a/b'", "train: 'b'"),
    ],
)
def test_paths_lose_their_folders(text, short):
    assert without_folders(text) == short
