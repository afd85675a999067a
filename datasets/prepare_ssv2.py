r"""Something-Something V2: from its zip or tar parts, or the folder, and its lists to a manifest.

python datasets/prepare_ssv2.py 20bn-something-something-v2-??.zip --lists labels/ \
    --output ssv2.csv --short-side 128

Columns: path, label (the template without brackets), group (empty: who filmed is not published),
split (train, val, test). Give all parts of the archive at once.
"""

from prepare_arguments import run

from cvrl.preparation.official_lists import read_ssv2
from cvrl.preparation.prepare import Published

# The owner counts 220,847 videos: these and 27,157 to test, whose labels came later.
PUBLISHED = Published(classes=174, parts={"split": {"train": 168_913, "val": 24_777}})

if __name__ == "__main__":
    run(__doc__, "folder of labels.json, train.json, validation.json", read_ssv2, PUBLISHED)
