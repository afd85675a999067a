r"""Diving48 with the labels of its second version: from Diving48_rgb.tar.gz to a manifest.

python datasets/prepare_diving48.py Diving48_rgb.tar.gz --lists Diving48_V2_train.json \
    Diving48_V2_test.json Diving48_vocab.json --output diving48.csv --short-side 128

Columns: path, label, group (the video of the competition), split. Videos that the second version
of the lists dropped are counted as being in no list.
"""

from prepare_arguments import run

from cvrl.preparation.official_lists import read_diving48
from cvrl.preparation.prepare import Published

# http://www.svcl.ucsd.edu/projects/resound/dataset.html; the second version tests on 1,970 videos.
PUBLISHED = Published(classes=48, parts={"split": {"test": 1970}})

if __name__ == "__main__":
    run(__doc__, "Diving48_V2_{train,test}.json, or their folder", read_diving48, PUBLISHED)
