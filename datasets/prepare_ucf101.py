r"""UCF101: from UCF101.rar, or the folder UCF-101, and its lists to one manifest of three splits.

python datasets/prepare_ucf101.py UCF101.rar --lists UCF101TrainTestSplits-RecognitionTask.zip \
    --output ucf101.csv --short-side 128

Columns: path, label, group (the scene, which its clips share), split1, split2, split3. What is
listed and not there is in ucf101_missing.csv. The same command again goes on where it was stopped.
"""

from prepare_arguments import run

from cvrl.preparation.official_lists import read_ucf101
from cvrl.preparation.prepare import Published

# The lists' own counts; https://www.crcv.ucf.edu/data/UCF101.php for 101 classes, 13,320 videos.
PUBLISHED = Published(
    classes=101,
    parts={
        "split1": {"train": 9537, "test": 3783},
        "split2": {"train": 9586, "test": 3734},
        "split3": {"train": 9624, "test": 3696},
    },
)

if __name__ == "__main__":
    run(__doc__, "ucfTrainTestlist, or its zip", read_ucf101, PUBLISHED)
