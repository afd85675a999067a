"""What several tests of the engine train on."""

import pytest

from cvrl.data.manifest import read_manifest


@pytest.fixture(scope="module")
def two_splits(tmp_path_factory, video_folder):
    """The twelve videos in two splits; the second has train and test the other way round."""
    videos = read_manifest(video_folder)
    lines = ["path,label,split1,split2"]
    for row, path in enumerate(videos.paths):
        sides = ("train", "test") if row % 2 else ("test", "train")
        lines.append(f"{path},{videos.class_names[videos.label_ids[row]]},{','.join(sides)}")
    file = tmp_path_factory.mktemp("lists") / "list.csv"
    file.write_text("\n".join(lines) + "\n")
    return file
