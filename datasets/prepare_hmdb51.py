r"""HMDB51: from hmdb51_org.rar, or a folder a class, and its lists to one manifest of three splits.

python datasets/prepare_hmdb51.py hmdb51_org.rar --lists test_train_splits.rar \
    --output hmdb51.csv --short-side 128

Columns: path, label, group (the source film), split1, split2, split3, empty where a split does not
use a clip. Clips of one film stand on both sides of the official splits; the number is printed.
"""

from prepare_arguments import run

from cvrl.preparation.official_lists import read_hmdb51
from cvrl.preparation.prepare import Published

# Kuehne et al., ICCV 2011, section 3.3: 70 clips to train and 30 to test in each of 51 classes.
PUBLISHED = Published(
    classes=51,
    parts={f"split{split}": {"train": 3570, "test": 1530} for split in (1, 2, 3)},
)

if __name__ == "__main__":
    run(__doc__, "folder of *_test_splitN.txt, or its rar", read_hmdb51, PUBLISHED)
