"""``tools/reward.py`` as a user runs it: what it prints, writes and refuses."""

import numpy as np
import pytest
from PIL import Image

from cvrl.cli.reward import main
from cvrl.data.clips import ClipSpec
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import save_model
from cvrl.utils.errors import UserError


@pytest.fixture
def command(tmp_path, video_folder):
    save_model(
        tmp_path / "model.safetensors",
        build_encoder("r3d_small", width=2),
        clip=ClipSpec(8, 1),
        size=32,
    )
    films = sorted((video_folder / "down").iterdir())[:2]
    return ["--checkpoint", tmp_path / "model.safetensors", "--demonstration", *films]


def call(*arguments):
    main([str(argument) for argument in arguments])


def test_it_writes_a_table_and_a_picture(command, tmp_path, capsys):
    call(*command, "--output", tmp_path / "out.csv", "--match", "dtw", "--every", 0.1)
    first, *files = capsys.readouterr().out.splitlines()
    assert first.startswith("mean reward -") and first.endswith("moments, at most -0.0158")
    assert files == [str(tmp_path / "out.csv"), str(tmp_path / "out.png")]
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows[0] == "seconds,demonstration_seconds,reward" and len(rows) > 2
    with Image.open(tmp_path / "out.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 50


def test_another_ending_is_refused(command, tmp_path):
    with pytest.raises(UserError, match=r"out\.txt: is not a CSV file"):
        call(*command, "--output", tmp_path / "out.txt")
