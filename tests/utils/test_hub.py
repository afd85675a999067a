"""Upload and download through huggingface_hub, against a server that speaks the Hub's interface.

The server is a real one on the loopback interface. It keeps repositories in memory, takes large
files by Git LFS and serves them by a redirect, as the Hub does without Xet storage.
"""

import base64
import hashlib
import json
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from cvrl import load_encoder
from cvrl.cli import main
from cvrl.data.clips import ClipSpec
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import save_model
from cvrl.run import Run
from cvrl.utils import hub
from cvrl.utils.errors import UserError

constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is missing")
TOKEN = "hf_good"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # its own


class Handler(BaseHTTPRequestHandler):
    """The parts of the Hub's interface that uploads and downloads of a model use."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status=200, body=b"", **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):
        body, state = self.body(), self.server
        if state.status:
            return self.answer(state.status, {"error": "made to fail"})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            if given["organization"] != "ann":
                return self.answer(403, {"error": "You don't have the rights to create a model"})
            if name in state.repos:
                return self.answer(409, {"error": "exists", "url": f"{state.url}/{name}"})
            state.repos[name] = []
            return self.answer(200, {"url": f"{state.url}/{name}"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            return self.answer(200, {"files": [
                {"path": f, "uploadMode": modes[f.endswith(".safetensors")], "shouldIgnore": False}
                for f in files
            ]})  # fmt: skip
        if path.endswith(".git/info/lfs/objects/batch"):
            href = {"upload": {"href": f"{state.url}/lfs/"}}
            return self.answer(200, {"transfer": "basic", "objects": [
                {**o, "actions": {"upload": {"href": href["upload"]["href"] + o["oid"]}}}
                for o in json.loads(body)["objects"]
            ]})  # fmt: skip
        name = path.removeprefix("/api/models/").removesuffix("/commit/main")
        files = dict(state.repos[name][-1][1]) if state.repos[name] else {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = state.lfs[value["oid"]]
        sha = hashlib.sha1(body).hexdigest()
        state.repos[name].append((sha, files))
        url = f"{state.url}/{name}/commit/{sha}"
        return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url})

    def do_PUT(self):
        body = self.body()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.lfs[oid] = body
        self.answer()

    def do_GET(self):
        state, path = self.server, self.path.partition("?")[0]
        state.asked.append(path)
        if state.status:
            return self.answer(state.status, {"error": "made to fail"})
        if path.startswith("/cdn/"):
            return self.answer(200, state.lfs[path.removeprefix("/cdn/")])
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, (verb, revision, *file) = "/".join(parts[:2]), parts[2:] or ["revision", "main"]
        commits = state.repos.get(name)
        if not commits:
            return self.answer(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if revision == "main":
            revision = commits[-1][0]
        files = dict(commits).get(revision)
        if files is None:
            return self.answer(404, {"error": "no"}, X_Error_Code="RevisionNotFound")
        if verb == "revision":
            siblings = [{"rfilename": path} for path in files]
            return self.answer(200, {"id": name, "sha": revision, "siblings": siblings})
        if verb == "tree":
            return self.answer(200, [
                {"type": "file", "path": path, "size": len(content), "oid": digest(content)}
                for path, content in files.items()
            ])  # fmt: skip
        content = files["/".join(file)]
        etag = {"ETag": f'"{digest(content)}"', "X_Repo_Commit": revision}
        if digest(content) in state.lfs:
            large = {"X_Linked_Etag": etag["ETag"], "X_Linked_Size": len(content)}
            return self.answer(
                302,
                Location=f"http://localhost:{state.server_port}/cdn/{digest(content)}",
                **large,
                **etag,
            )
        return self.answer(200, content, **etag)

    do_HEAD = do_GET


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub with no models, which huggingface_hub of this process talks to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.repos, server.lfs, server.asked, server.status = {}, {}, [], None
    Thread(target=server.serve_forever, daemon=True).start()
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)  # HF_ENDPOINT, read when imported
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "mine"
    encoder = build_encoder("r3d_small", width=4)
    save_model(folder / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32)
    return Run(folder)


def test_what_is_pushed_is_what_is_loaded(server, run, tmp_path):
    page = run.push_to_hub("ann/encoder", data_license="CC BY 4.0")
    assert page == f"{server.url}/ann/encoder"
    ((first, files),) = server.repos["ann/encoder"]
    assert {"README.md", "config.json", "model.safetensors"} <= set(files)
    assert files["model.safetensors"] == (run.folder / "model.safetensors").read_bytes()
    assert b'load_encoder("ann/encoder")' in files["README.md"]
    assert b"# encoder\n" in files["README.md"]
    clips = torch.rand(1, 3, 8, 32, 32)
    encoder = load_encoder("ann/encoder")
    with torch.inference_mode():
        assert torch.equal(encoder(clips), run.encoder(clips))
    assert not any("README" in path for path in server.asked), "only what is needed"

    other = build_encoder("r3d_small", width=8)
    save_model(run.path / "model.safetensors", other, clip=ClipSpec(8, 2), size=32)
    run.push_to_hub("ann/encoder", data_license="CC BY 4.0")
    assert len(server.repos["ann/encoder"]) == 2
    assert load_encoder("ann/encoder").dim == other.dim
    assert load_encoder(f"ann/encoder@{first}").dim == encoder.dim
    assert Run("ann/encoder").encoder.dim == other.dim

    server.shutdown()  # what was downloaded is there without the Hub
    server.server_close()
    assert load_encoder("ann/encoder").dim == other.dim


def test_a_name_that_the_hub_does_not_know(server, run):
    with pytest.raises(UserError, match=r"^ann/encodr: no such folder here, and no such model on"):
        load_encoder("ann/encodr")
    run.push_to_hub("ann/encoder", data_license="CC BY 4.0")
    with pytest.raises(UserError, match=r"^ann/encoder@v9: no such revision; give a branch"):
        load_encoder("ann/encoder@v9")


def test_upload_without_the_right_token_or_name(server, run, monkeypatch):
    with pytest.raises(UserError, match=r"^encoder: is no name of a model on the Hub; give it as"):
        run.push_to_hub("encoder", data_license="x")
    with pytest.raises(UserError, match=r"^bob/encoder: the Hub refuses the token \(status 403\)"):
        run.push_to_hub("bob/encoder", data_license="x")
    with pytest.raises(UserError, match=r"^ann/encoder: the Hub refuses the token \(status 401\)"):
        run.push_to_hub("ann/encoder", data_license="x", token="hf_bad")
    with pytest.raises(UserError, match="licence of the training videos is missing"):
        run.push_to_hub("ann/encoder", data_license="")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"^ann/encoder: there is no token to upload with; set HF_"):
        run.push_to_hub("ann/encoder", data_license="x")
    assert server.repos == {}


def test_a_hub_that_fails_or_is_not_there(server, run, monkeypatch):
    server.status = 418
    with pytest.raises(UserError, match=r"^ann/encoder: the Hub answers with status 418; try"):
        load_encoder("ann/encoder")
    with pytest.raises(UserError, match=r"^ann/encoder: the Hub answers with status 418; try"):
        run.push_to_hub("ann/encoder", data_license="x")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]  # closed when the block ends: nobody listens there
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"^ann/encoder: .*the Hub cannot be reached; check the pa"):
        load_encoder("ann/encoder")
    with pytest.raises(UserError, match=r"^ann/encoder: .*the Hub cannot be reached; check the"):
        run.push_to_hub("ann/encoder", data_license="x")


def test_the_command_takes_a_name_and_ends_with_one_line(server, video_folder, tmp_path):
    """In a process of its own, which reads HF_ENDPOINT."""
    environment = {
        "HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "cache"),
        "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "cvrl", "extract", "--checkpoint", "ann/encoder"]
    command += ["--input", str(video_folder), "--output", "f.parquet"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    said = "error: ann/encoder: no such folder here, and no such model on the Hub; check"
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["a/b/c", "encoder", "runs/x.pth", "/a/b", "./a", "a/b.safetensors"]
)
def test_paths_are_not_looked_for_on_the_hub(name):
    assert not hub.is_hub_name(name)


def test_folders_come_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.is_hub_name("runs/mine") and not hub.is_hub_name(Path("runs/mine"))
    (tmp_path / "runs").mkdir()
    assert not hub.is_hub_name("runs/mine")
    with pytest.raises(UserError, match=r"holds no model.safetensors"):
        load_encoder("runs/mine")


def test_a_model_of_the_hub_is_predicted_with(server, run, video_folder, tmp_path, capsys):
    run.push_to_hub("ann/encoder", data_license="CC BY 4.0")
    output = ["--output", str(tmp_path / "f.npy"), "--workers", "0"]
    main(["extract", "--checkpoint", "ann/encoder", "--input", str(video_folder), *output])
    assert "12 clips of 12 videos" in capsys.readouterr().out
