"""Archives: all that owners ship is unpacked, nothing outside the folder is ever written."""

import io
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from cvrl.preparation.archives import find_archives, kind_of, unpack
from cvrl.utils.errors import UserError

VIDEOS = {"run/a.avi": b"a" * 5000, "run/b.avi": b"", "jump/c d.avi": bytes(range(256)) * 40}
RAR_TOOL = next(
    (name for name in ("bsdtar", "unrar", "7zz", "7z", "unar") if shutil.which(name)), ""
)
needs_rar = pytest.mark.skipif(not RAR_TOOL, reason="no program for .rar on this machine")


def write_zip(path, members=VIDEOS):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path, members=VIDEOS, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_rar(path, members=VIDEOS):
    """A rar of format 4 that only stores: blocks of CRC, type, flags, size, and what they hold."""

    def block(kind, flags, body=b""):
        rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest

    data = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, content in members.items():
        unix, version, stored, mode = 3, 20, 0x30, 0o100644
        head = struct.pack("<IIBII", len(content), len(content), unix, zlib.crc32(content), 0)
        encoded = name.encode()
        head += struct.pack("<BBHI", version, stored, len(encoded), mode) + encoded
        data += block(0x74, 0x8000, head) + content
    path.write_bytes(data + block(0x7B, 0x4000))
    return path


def split(path, names):
    """Cut a file into as many parts, none of which but the first begins like an archive."""
    data = path.read_bytes()
    size = -(-len(data) // len(names))
    parts = [path.with_name(name) for name in names]
    for place, part in enumerate(parts):
        part.write_bytes(data[place * size : (place + 1) * size])
    path.unlink()
    return parts


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".unpacked" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- all kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_zip_and_tar_side_by_side(tmp_path, workers):
    archives = [
        write_zip(tmp_path / "one.zip"),
        write_tar(tmp_path / "two.tar.gz", {"walk/e.avi": b"e"}),
        write_tar(tmp_path / "three.tar", {"walk/f.avi": b"f"}, mode="w"),
        write_tar(tmp_path / "four.txz", {"walk/g.avi": b"g"}, mode="w:xz"),
    ]
    unpack(archives, tmp_path / "videos", workers=workers)
    more = {f"walk/{name}.avi": name.encode() for name in "efg"}
    assert content(tmp_path / "videos") == VIDEOS | more


def test_a_kind_is_told_by_content(tmp_path):
    assert kind_of(write_zip(tmp_path / "a.rar")) == "zip"
    assert kind_of(write_tar(tmp_path / "b.zip")) == "tar"
    assert kind_of(write_tar(tmp_path / "c.bin", mode="w")) == "tar"
    assert kind_of(write_rar(tmp_path / "d.avi")) == "rar"
    (tmp_path / "e.zip").write_text("PK")
    assert kind_of(tmp_path / "e.zip") is None


@pytest.mark.parametrize("writer,suffix", [(write_tar, ".tgz"), (write_zip, ".zip")])
def test_parts_are_read_as_one(tmp_path, writer, suffix):
    whole = writer(tmp_path / f"something{suffix}", VIDEOS | {"noise": os.urandom(3000)})
    names = [f"something-{place}" for place in (8, 9, 10)]  # by number: 10 comes last
    parts = split(whole, names)
    unpack(sorted(parts), tmp_path / "videos", workers=0)
    assert VIDEOS.items() <= content(tmp_path / "videos").items()


def test_archives_that_only_look_like_parts(tmp_path):
    parts = [tmp_path / "part-0", tmp_path / "part-1"]
    for place, part in enumerate(parts):
        write_tar(part, {f"{place}.avi": b"x"})
    unpack(parts, tmp_path / "videos", workers=0)
    assert sorted(content(tmp_path / "videos")) == ["0.avi", "1.avi"]


def test_zips_of_the_parts_of_a_tar(tmp_path):
    """As Something-Something V2 comes: every zip holds one piece of a single archive."""
    whole = write_tar(tmp_path / "20bn.tgz", VIDEOS | {"20bn/1.webm": os.urandom(3000)})
    zips = [
        write_zip(tmp_path / f"{part.name}.zip", {part.name: part.read_bytes()})
        for part in split(whole, ["20bn-00", "20bn-01", "20bn-02"])
    ]
    unpack(zips, tmp_path / "videos", workers=0)
    assert sorted(content(tmp_path / "videos")) == sorted([*VIDEOS, "20bn/1.webm"])


def test_what_a_path_stands_for(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    files = [write_tar(parts / f"part_{k}.tar.gz") for k in (0, 1)]
    (parts / "readme.txt").write_text("text")
    assert find_archives(parts) == files
    assert find_archives(files[0]) == files[:1]
    (parts / "class").mkdir()
    (parts / "class" / "a.avi").touch()
    assert find_archives(parts) == []  # it is unpacked
    with pytest.raises(UserError, match="no such file or folder"):
        find_archives(tmp_path / "gone.zip")


# --- nothing is trusted --------------------------------------------------------------------------


@pytest.mark.parametrize("writer", [write_zip, write_tar])
@pytest.mark.parametrize(
    "name", ["../out.avi", "run/../../out.avi", "/tmp/out.avi", "..\\out.avi", "C:/out.avi"]
)
def test_members_stay_inside(tmp_path, writer, name):
    archive = writer(tmp_path / "bad", {"a.avi": b"a", name: b"out"})
    folder = tmp_path / "deep" / "videos"
    with pytest.raises(UserError, match=r"outside the folder.*; get the archive from its owner"):
        unpack([archive], folder, workers=0)
    assert sorted(content(tmp_path)) == ["bad", "deep/videos/a.avi"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_of_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.addfile(info)
    with pytest.raises(UserError, match="'link' is a link or device"):
        unpack([tmp_path / "bad.tar"], tmp_path / "videos", workers=0)


def test_links_of_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="'link' is a link or device"):
        unpack([tmp_path / "bad.zip"], tmp_path / "videos", workers=0)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_file_cut_short(tmp_path, name, kept):
    writer = write_zip if name == "a.zip" else write_tar
    archive = writer(tmp_path / name, {"noise.avi": os.urandom(40_000)})
    archive.write_bytes(archive.read_bytes()[: int(kept * archive.stat().st_size)])
    with pytest.raises(UserError, match=r"cannot be unpacked: .*; get the archive again"):
        unpack([archive], tmp_path / "videos", workers=0)
    assert content(tmp_path / "videos") == {}


def test_what_is_no_archive(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(UserError, match=r"notes\.txt: is no archive"):
        unpack([tmp_path / "notes.txt"], tmp_path / "videos", workers=0)


def test_a_folder_of_the_user_is_left_alone(tmp_path):
    inner = tmp_path / "videos" / "mine.zip"
    inner.parent.mkdir()
    write_zip(inner)
    with pytest.raises(UserError, match="holds files already"):
        unpack([write_zip(tmp_path / "a.zip")], tmp_path / "videos", workers=0)
    assert content(tmp_path / "videos") == {"mine.zip": inner.read_bytes()}


# --- a run after another -------------------------------------------------------------------------


def test_an_archive_is_unpacked_once(tmp_path):
    archive, folder = write_zip(tmp_path / "a.zip"), tmp_path / "videos"
    unpack([archive], folder, workers=0)
    (folder / "run/a.avi").unlink()
    unpack([archive], folder, workers=0)
    assert not (folder / "run/a.avi").exists()
    write_zip(archive, VIDEOS | {"new.avi": b"new"})  # another archive by that name
    unpack([archive], folder, workers=0)
    assert content(folder) == VIDEOS | {"new.avi": b"new"}


@pytest.mark.parametrize("writer", [write_zip, write_tar])
def test_a_run_that_was_stopped_goes_on(tmp_path, writer):
    archive, folder = writer(tmp_path / "a"), tmp_path / "videos"
    (folder / ".unpacked").mkdir(parents=True)
    (folder / "run").mkdir()
    (folder / "run/a.avi").write_bytes(VIDEOS["run/a.avi"])
    before = (folder / "run/a.avi").stat()
    (folder / "jump").mkdir()
    (folder / "jump/c d.avi").write_bytes(b"half")
    unpack([archive], folder, workers=0)
    assert content(folder) == VIDEOS
    assert (folder / "run/a.avi").stat() == before


# --- rar -----------------------------------------------------------------------------------------


@needs_rar
def test_a_rar_of_rars(tmp_path):
    """As HMDB51 comes: a rar of one rar a class. The inner ones are gone in the end."""
    inner = {}
    for name in ("run", "jump"):
        members = {key: data for key, data in VIDEOS.items() if key.startswith(name)}
        inner[f"{name}.rar"] = write_rar(tmp_path / "inner", members).read_bytes()
    archive = write_rar(tmp_path / "hmdb51_org.rar", inner)
    unpack([archive], tmp_path / "videos", workers=0)
    assert content(tmp_path / "videos") == VIDEOS
    unpack([archive], tmp_path / "videos", workers=0)
    assert content(tmp_path / "videos") == VIDEOS


@needs_rar
def test_a_broken_rar(tmp_path):
    archive = write_rar(tmp_path / "a.rar", {"a.avi": os.urandom(5000)})
    data = bytearray(archive.read_bytes())
    archive.write_bytes(data[:2000])
    with pytest.raises(UserError, match=r"a\.rar: cannot be unpacked: .*; get the archive again"):
        unpack([archive], tmp_path / "videos", workers=0)
    assert content(tmp_path / "videos") == {}


@needs_rar
def test_a_rar_stays_inside(tmp_path):
    archive = write_rar(tmp_path / "a.rar", {"../../../out.avi": b"out", "in.avi": b"in"})
    try:
        unpack([archive], tmp_path / "deep" / "videos", workers=0)
    except UserError as error:
        assert "cannot be unpacked" in str(error)
    outside = [path for path in tmp_path.rglob("out.avi") if "deep" not in path.parts]
    assert outside == []


def test_without_a_program_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        unpack([write_rar(tmp_path / "a.rar")], tmp_path / "videos", workers=0)
    assert str(caught.value) == (
        f"{tmp_path / 'a.rar'}: no program for .rar found (bsdtar, unrar, 7zz, 7z, unar); install"
        " one, as in `apt install libarchive-tools`, or unpack the archive yourself"
    )


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_links_that_a_program_made_are_refused(tmp_path, monkeypatch, linked):
    """A program of that name which unpacks a link, since no rar of ours can hold one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    target = "/etc/passwd" if linked == "file" else "/etc"
    (programs / "bsdtar").write_text(f'#!/bin/sh\n/bin/ln -s {target} "$5/link"\n')
    (programs / "bsdtar").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UserError, match="'link' is a link or device"):
        unpack([write_rar(tmp_path / "a.rar")], tmp_path / "videos", workers=0)
    assert not Path(tmp_path / "videos" / "link").is_symlink()


def test_the_next_program_is_tried(tmp_path, monkeypatch):
    """7-Zip without its rar codec is found on many machines, and fails."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "bsdtar").write_text("#!/bin/sh\necho no codec; exit 1\n")
    (programs / "unrar").write_text('#!/bin/sh\necho frames > "$6/a.avi"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    archive = write_rar(tmp_path / "a.rar")
    unpack([archive], tmp_path / "videos", workers=0)
    assert content(tmp_path / "videos") == {"a.avi": b"frames\n"}
    (programs / "unrar").unlink()
    with pytest.raises(UserError, match="cannot be unpacked: bsdtar: no codec"):
        unpack([archive], tmp_path / "other", workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tar_member_without_a_name_is_refused(workers, tmp_path):
    with tarfile.open(tmp_path / "videos.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("."))
    with pytest.raises(UserError, match=r"its member '\.' has no name"):
        unpack([tmp_path / "videos.tar"], tmp_path / "videos", workers=workers)


def test_control_characters_in_a_member_name_do_not_reach_the_terminal(tmp_path):
    write_tar(tmp_path / "videos.tar.gz", {"../\x1b[2Ja.avi": b"frames"})
    with pytest.raises(UserError, match=r"\\x1b\[2Ja\.avi") as caught:
        unpack([tmp_path / "videos.tar.gz"], tmp_path / "videos", workers=0)
    assert "\x1b" not in str(caught.value)
