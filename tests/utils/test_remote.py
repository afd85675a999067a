"""A real object store on loopback, and a proxy before it that is slow, fails or cuts."""

import os
import socket
import socketserver
import threading
import time
from contextlib import suppress

import pytest
import torch

from cvrl.cli import main
from cvrl.config import load_config
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset, VideoReader
from cvrl.data.loader import train_loader
from cvrl.data.manifest import read_manifest, write_manifest
from cvrl.data.sampler import VisitSampler
from cvrl.engine.trainer import Trainer, train
from cvrl.preparation.shards import write_shards
from cvrl.pretrained import load_encoder
from cvrl.run import extract
from cvrl.transforms import recipes
from cvrl.utils import remote
from cvrl.utils.errors import CorruptVideoError, UserError, run_tool
from cvrl.utils.remote_folder import RemoteFolder
from cvrl.video.frame_cache import FrameCache
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.reader import open_video
from cvrl.views.temporal_pair import TemporalPair

pytest.importorskip("moto")
pytest.importorskip("s3fs")


class Proxy(socketserver.ThreadingTCPServer):
    """Forwards connections to a server; ``faults`` are done to the next ones, one each."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), Forward)
        self.target = target
        self.faults = []
        self.connections = 0
        self.lock = threading.Lock()

    def next_fault(self):
        with self.lock:
            self.connections += 1
            return self.faults.pop(0) if self.faults else None

    def handle_error(self, *_):
        """A connection that breaks is what the proxy is for."""


class Forward(socketserver.BaseRequestHandler):
    """One connection: its request goes on, and the answer comes back, or what the fault says."""

    def handle(self):
        fault = self.server.next_fault()
        request = self.request.recv(65536)
        if fault == "503":
            body = b"<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>"
            head = f"HTTP/1.1 503 Slow Down\r\nContent-Length: {len(body)}\r\n"
            self.request.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            return
        if fault == "refuse":
            return
        if fault == "stall":
            time.sleep(3)
            return
        with socket.create_connection(self.server.target) as server:
            sender = threading.Thread(target=self.forward, args=(server, request), daemon=True)
            sender.start()
            sent = 0
            while answer := server.recv(4096):
                if fault == "cut" and sent + len(answer) > 6000:
                    self.request.sendall(answer[: 6000 - sent])
                    return
                if fault == "slow":
                    time.sleep(0.1)
                self.request.sendall(answer)
                sent += len(answer)

    def forward(self, server, request):
        with suppress(OSError):
            while request:
                server.sendall(request)
                request = self.request.recv(65536)


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    yield started.get_host_and_port()
    started.stop()


@pytest.fixture
def proxy(server, monkeypatch):
    """The store behind a proxy, with a bucket of its own; the environment names it."""
    import fsspec

    proxy = Proxy(server)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(remote, "READ_SECONDS", 1.0)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
    yield proxy
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    proxy.shutdown()
    proxy.server_close()


CONTENT = os.urandom(50_000)


def clear_connections():
    """Faults are done to connections; without this, open ones would be used again."""
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_files_are_written_and_read(proxy, tmp_path):
    url = "s3://bucket/deep/a.bin"
    assert not remote.exists(url)
    with pytest.raises(FileNotFoundError):
        remote.read_bytes(url)
    remote.write_bytes(url, CONTENT)
    assert remote.exists(url) and remote.read_bytes(url) == CONTENT
    assert remote.read_bytes(url, 100, 300) == CONTENT[100:300]
    remote.download(url, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    remote.upload(tmp_path / "a.bin", "s3://bucket/deep/b/c.bin")
    assert remote.sizes_below("s3://bucket/deep/") == {"a.bin": 50_000, "b/c.bin": 50_000}
    remote.remove(url)
    remote.remove(url)
    assert not remote.exists(url)


def test_a_range_costs_one_request(proxy):
    remote.write_bytes("s3://bucket/a.bin", CONTENT)
    before = proxy.connections
    for _ in range(3):
        remote.read_bytes("s3://bucket/a.bin", 5, 9)
    assert proxy.connections - before <= 3


@pytest.mark.parametrize("fault", ["503", "refuse", "cut", "slow", "stall"])
def test_a_fault_that_passes_is_tried_again(proxy, fault):
    remote.write_bytes("s3://bucket/a.bin", CONTENT)
    clear_connections()
    proxy.faults = [fault] * 2
    assert remote.read_bytes("s3://bucket/a.bin", 0, 50_000) == CONTENT
    assert proxy.faults == [] or fault == "slow"


@pytest.mark.parametrize("fault", ["503", "refuse", "cut"])
def test_a_fault_that_stays_ends_with_one_line(proxy, fault):
    remote.write_bytes("s3://bucket/a.bin", CONTENT)
    clear_connections()
    proxy.faults = [fault] * 100
    with pytest.raises(
        UserError, match=r"^s3://bucket/a.bin: cannot be read: .*\(4 tries\); check"
    ):
        remote.read_bytes("s3://bucket/a.bin", 0, 50_000)
    assert 100 - len(proxy.faults) <= 2 * remote.TRIES


def test_missing_credentials_are_named_at_once(proxy, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    clear_connections()
    with pytest.raises(UserError, match=r"cannot be read: .*credentials.*; check the credentials"):
        remote.read_bytes("s3://bucket/a.bin")


SPEC = ClipSpec(frames=4, stride=2)


def batches(manifest, workers=0, **keywords):
    dataset = TrainDataset(
        manifest, TemporalPair(SPEC), recipes.light(32), seed=3, reader=VideoReader(**keywords)
    )
    sampler = VisitSampler(videos=len(manifest), batch_size=4, seed=3, last_step=2)
    return [batch.clips_BVCTHW for batch in train_loader(dataset, sampler, workers=workers)]


def alike(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def stored(proxy, video_folder, tmp_path):
    """Shards, the files themselves and a list of them, in the bucket."""
    manifest = read_manifest(video_folder)
    write_shards(manifest, tmp_path / "shards", max_bytes=20_000)
    for path in (tmp_path / "shards").iterdir():
        remote.upload(path, f"s3://bucket/shards/{path.name}")
    for path in manifest.table["path"].to_pylist():
        remote.upload(video_folder / path, f"s3://bucket/videos/{path}")
    table = manifest.table
    rows = zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)
    lines = ["path,label", *(f"{path},{label}" for path, label in rows)]
    remote.write_bytes("s3://bucket/videos/list.csv", "\n".join(lines).encode())
    return manifest


@pytest.mark.parametrize("workers", [0, 1])
def test_shards_in_a_store_give_the_same_batches(stored, workers):
    packed = read_manifest("s3://bucket/shards/")
    assert packed.path(0).startswith("s3://bucket/shards/000000.tar@")
    assert packed.label_ids.tolist() == stored.label_ids.tolist()
    expected = batches(stored)
    assert alike(batches(packed, workers), expected)
    assert alike(batches(packed, packet_cache=PacketIndexCache()), expected)


def test_a_list_in_a_store_names_videos_there(stored, tmp_path):
    listed = read_manifest("s3://bucket/videos/list.csv")
    assert listed.path(0) == "s3://bucket/videos/down/down_0.mp4"
    expected = batches(stored)
    assert alike(batches(listed), expected)
    (tmp_path / "here.csv").write_text("\n".join(["path", *listed.paths]))
    assert alike(batches(read_manifest(tmp_path / "here.csv")), expected)
    cache = FrameCache(tmp_path / "cache", short_side=48)
    assert alike(batches(listed, cache=cache), batches(listed, cache=cache))


def test_a_video_costs_one_request_a_visit(stored, proxy):
    packed = read_manifest("s3://bucket/shards")
    reader = VideoReader()
    calls = []
    real = remote.read_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "read_bytes", lambda *a: calls.append(a) or real(*a))
        with reader.open(packed.path(3)) as video:
            video.frames([0, 5])
            video.frames([9])
    row = packed.row(3)
    start = row["shard_offset"]
    assert calls == [(f"s3://bucket/shards/{row['shard']}", start, start + row["shard_bytes"])]


def test_what_is_wrong_in_a_store_is_named(stored, proxy):
    with pytest.raises(UserError, match=r"s3://bucket/none: no such list, and no folder"):
        read_manifest("s3://bucket/none")
    with pytest.raises(CorruptVideoError, match=r"s3://bucket/none\.mp4: no such file"):
        open_video("s3://bucket/none.mp4")
    remote.write_bytes("s3://bucket/videos/bad.csv", b"path,label\na.mp4,x\na.mp4,y\n")
    with pytest.raises(UserError, match=r"^s3://bucket/videos/bad\.csv: 1 paths are listed"):
        read_manifest("s3://bucket/videos/bad.csv")
    remote.remove("s3://bucket/shards/000001.tar")
    with pytest.raises(UserError, match=r"^s3://bucket/shards/000001\.tar: is missing, as"):
        read_manifest("s3://bucket/shards")


def test_a_store_that_fails_stops_a_run_and_passes_for_no_bad_video(stored, proxy):
    packed = read_manifest("s3://bucket/shards")
    clear_connections()
    proxy.faults = ["503", "cut"]
    assert alike(batches(packed), batches(stored))
    clear_connections()
    proxy.faults = ["503"] * 100
    with pytest.raises(UserError, match=r"s3://bucket/shards/.*cannot be read.*4 tries"):
        batches(packed)


TINY = """
name: tiny
clip: {frames: 8, stride: 2, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 4, blocks: [1, 1, 1, 1]}
method: {name: simclr, hidden: 16, hidden_layers: 1, dim: 8}
optim: {name: sgd, lr: 0.05, warmup_epochs: 0}
train: {steps: 4, batch_size: 4, threads: 1}
data: {workers: 0}
checkpoint: {every_steps: 2, keep: 1}
eval: {every_epochs: 0}
log: {every_steps: 1, tensorboard: false}
"""


class StopAfter:
    """A stop request that comes after so many steps."""

    def __init__(self, steps):
        self.left = steps

    @property
    def requested(self):
        self.left -= 1
        return self.left <= 0

    def check_while_waiting(self):
        """Batches come at once here."""


def test_a_run_is_kept_in_a_store_and_goes_on_elsewhere(stored, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(TINY)
    given = ["data.train=s3://bucket/shards", "output=s3://bucket/runs/x"]
    monkeypatch.setenv("CVRL_CACHE", str(tmp_path / "one"))
    trainer = Trainer(load_config(tmp_path / "tiny.yaml", given))
    trainer.fit(StopAfter(3))
    names = remote.sizes_below("s3://bucket/runs/x").keys()
    assert {"config.yaml", "model.safetensors", "checkpoints/step_00000003.pt"} <= names
    assert "checkpoints/step_00000002.pt" not in names
    monkeypatch.setenv("CVRL_CACHE", str(tmp_path / "two"))  # another machine
    train(load_config(tmp_path / "tiny.yaml", given))
    files = [f"data.train={stored.root}", f"output={tmp_path / 'files'}"]
    train(load_config(tmp_path / "tiny.yaml", files))
    monkeypatch.setenv("CVRL_CACHE", str(tmp_path / "three"))
    one, other = load_encoder("s3://bucket/runs/x"), load_encoder(tmp_path / "files")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not list((tmp_path / "three").rglob("*.pt"))
    report = extract("s3://bucket/runs/x", "s3://bucket/shards", "s3://bucket/out/f.npy", workers=0)
    assert (report.n_clips, report.bad) == (12, [])
    assert remote.sizes_below("s3://bucket/out").keys() == {"f.npy", "f.csv", "f.npy.report.json"}


def test_a_copy_that_is_ahead_of_the_store_is_kept(proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("CVRL_CACHE", str(tmp_path))
    folder = RemoteFolder("s3://bucket/runs/y")
    (folder.local / "checkpoints").mkdir(parents=True)
    (folder.local / "checkpoints" / "step_00000001.pt").write_text("1")
    folder.push()
    (folder.local / "checkpoints" / "step_00000002.pt").write_text("2")
    RemoteFolder("s3://bucket/runs/y").pull()
    assert len(list((folder.local / "checkpoints").iterdir())) == 2
    remote.write_bytes("s3://bucket/runs/y/checkpoints/step_00000003.pt", b"3")
    RemoteFolder("s3://bucket/runs/y").pull()
    names = [path.name for path in sorted((folder.local / "checkpoints").iterdir())]
    assert names == ["step_00000001.pt", "step_00000003.pt"]


def test_shards_and_lists_are_written_to_a_store(stored, tmp_path):
    write_shards(stored, "s3://bucket/again", max_bytes=20_000)
    one, other = remote.sizes_below("s3://bucket/again"), remote.sizes_below("s3://bucket/shards")
    assert one == other
    assert alike(batches(read_manifest("s3://bucket/again")), batches(stored))
    write_manifest(read_manifest("s3://bucket/again"), "s3://bucket/again.csv")
    listed = read_manifest("s3://bucket/again.csv")
    assert listed.paths == read_manifest("s3://bucket/again").paths
    remote.write_bytes("s3://bucket/again/other.tar", b"")
    with pytest.raises(UserError, match=r"holds other shards, such as other\.tar"):
        write_shards(stored, "s3://bucket/again", max_bytes=20_000)


def test_a_command_ends_with_one_line(proxy, tmp_path, monkeypatch, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    clear_connections()
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: main(["shard", "s3://bucket/list.csv", "--output", str(tmp_path / "s")]))
    shown = capsys.readouterr().err
    assert ended.value.code == 2 and shown.count("\n") == 1
    assert "check the credentials" in shown and shown.startswith("error: s3://bucket/list.csv")


def test_a_protocol_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"nosuch://x: Protocol not known: nosuch"):
        remote.read_bytes("nosuch://x")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        *(("s3://b/x", True), ("s3:/b/x", True), ("memory://a", True), ("http://h/x", True)),
        *(("/s3://b", False), ("a/b", False), ("C:/x", False), ("file:///x", False), ("a:", False)),
    ],
)
def test_what_is_a_url(path, found):
    assert remote.is_remote(path) is found
