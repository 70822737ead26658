"""Videos through translate, and what ffmpeg has to do with them."""

import shutil
import subprocess

import numpy as np
import pytest
from conftest import copying, make_picture, make_run
from helpers import translate, written

from pix2pix.commands.video import read_frames, write_frames
from pix2pix.support.terminal import UserError


@pytest.fixture
def copy(small, tmp_path):
    return make_run(tmp_path / "copy", small, copying())


needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg")


def probe(path, entries):
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "csv=p=0", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@needs_ffmpeg
def test_a_video_comes_back_as_a_video_with_its_sound(copy, tmp_path, capsys):
    picture = ["-f", "lavfi", "-i", "testsrc=size=62x34:rate=10:duration=1.2"]
    sound = ["-f", "lavfi", "-i", "sine=duration=1.2", "-c:a", "aac", "-pix_fmt", "yuv420p"]
    clip = tmp_path / "clip.mp4"
    subprocess.run(["ffmpeg", "-v", "error", *picture, *sound, clip], check=True)
    translate(copy, clip, output=tmp_path / "out", native=True)
    assert written(tmp_path / "out") == {"clip.mp4"}
    result = tmp_path / "out/clip.mp4"
    assert probe(result, "stream=codec_type") == ["video", "audio"]
    streams = "stream=width,height,r_frame_rate,nb_frames"
    assert probe(result, streams)[0] == probe(clip, streams)[0] == "62,34,10/1,12"
    before, after = (next(read_frames(each, "10")) for each in (clip, result))
    assert np.abs(before.astype(int) - after).mean() < 6  # the encoder's doing
    assert "Wrote     1 of 1" in capsys.readouterr().out


@needs_ffmpeg
def test_a_broken_video_is_one_line_and_the_rest_is_done(copy, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/clip.mp4").write_bytes(b"no video")
    make_picture(tmp_path / "in/1.png", 8, 8)
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(copy, tmp_path / "in", output=tmp_path / "out")
    assert f"Skipped   {tmp_path}/in/clip.mp4: not a readable video" in capsys.readouterr().out
    assert written(tmp_path / "out") == {"1.png"}


@needs_ffmpeg
def test_a_video_that_cannot_be_written_leaves_nothing(copy, tmp_path, capsys):
    clip = tmp_path / "clip.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x32:rate=10:duration=1"]
    subprocess.run(["ffmpeg", "-v", "error", *source, clip], check=True)
    odd = clip.rename(tmp_path / "clip.avi")  # read by its content
    (tmp_path / "out").mkdir()
    translate(copy, odd, output=tmp_path / "out")
    assert probe(tmp_path / "out/clip.avi", "stream=codec_type") == ["video"]
    with pytest.raises(UserError, match="ffmpeg could not write its translation"):
        write_frames([np.zeros((8, 8, 3), np.uint8)] * 9, "10", odd, tmp_path / "out/clip.nonsense")


def test_without_ffmpeg_a_video_is_one_line(copy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(copy, tmp_path / "clip.mp4", output=tmp_path / "out")
    assert "Skipped   ffprobe: not found; install ffmpeg" in capsys.readouterr().out
