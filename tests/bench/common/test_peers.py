"""What is installed is told from what is not."""

import pytest

from cvrl.bench.common.peers import PEERS, load, split_by_installed, version


def test_versions():
    assert version("torchvision") and version("no-such-package") is None


def test_peers_are_split():
    here, absent = split_by_installed(["no-such-package", *PEERS])
    assert "pytorchvideo" in here and absent[0] == "no-such-package"
    assert sorted([*here, *absent]) == sorted(["no-such-package", *PEERS])


def test_a_module_is_loaded_in_silence():
    assert load("pytorchvideo.data.encoded_video").EncodedVideo
    with pytest.raises(ImportError):
        load("no_such_package.module")


def test_what_is_installed_and_does_not_load_is_named(monkeypatch, caplog):
    def load(module):
        raise RuntimeError("libavutil.so.60: cannot open\nmany lines of it")

    monkeypatch.setattr("cvrl.bench.common.peers.load", load)
    assert split_by_installed(["torchvision"]) == ([], ["torchvision"])
    assert caplog.messages == [
        "torchvision is installed and does not load: libavutil.so.60: cannot open"
    ]
