"""Videos through translate, and what ffmpeg has to do with them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import copying, errors, make_picture, make_run, start
from helpers import translate, written

from pix2pix.commands.translate.video import frame_rate, read_frames, write_frames
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import FullDiskError

STAND_IN = """#!{python}
import os, pathlib, sys
place, arguments = pathlib.Path(__file__).parent, sys.argv[1:]
if sys.argv[0].endswith("ffprobe"):
    print((place / "answer.json").read_text())
elif arguments[-1] == "-":  # reads {frames} frames, and says which pixels it was asked for
    (place / "reader").write_text(f"{{os.getpid()}} {{' '.join(arguments)}}")
    for _ in range({frames}):
        sys.stdout.buffer.write(b"P6\\n8 8\\n255\\n" + bytes(8 * 8 * 3))
    sys.stdout.buffer.write(b"P6\\n8 8\\n255\\n" + bytes(100))  # the last one is cut short
else:
    pathlib.Path(arguments[-1].removeprefix("file:")).write_bytes(b"begun")
    (place / "writer").write_text(f"{{os.getpid()}} ")
    while sys.stdin.buffer.read(100):
        pass
    {ending}
"""


@pytest.fixture
def copy(small, tmp_path):
    return make_run(tmp_path / "copy", small, copying())


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a stand-in in the place of ffmpeg and ffprobe; returns their folder."""

    def put(frames: int = 3, ending: str = "pass", **stream: str):
        stream = stream or {"r_frame_rate": "25/1"}
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "answer.json").write_text(json.dumps({"programs": [], "streams": [stream]}))
        program = STAND_IN.format(python=sys.executable, frames=frames, ending=ending)
        for name in ("ffmpeg", "ffprobe"):
            (folder / name).write_text(program)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder

    return put


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
    with pytest.raises(OSError, match="clip.nonsense: Invalid argument"):
        write_frames([np.zeros((8, 8, 3), np.uint8)] * 9, "10", odd, tmp_path / "out/clip.nonsense")


def test_without_ffmpeg_a_video_is_one_line(copy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(copy, tmp_path / "clip.mp4", output=tmp_path / "out")
    assert "Skipped   ffprobe: not found; install ffmpeg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rates", "rate"),
    [
        (("25/1", "25/1"), "25/1"),
        (("30000/1001", "0/0"), "30000/1001"),
        (("90000/1", "2997/100"), "2997/100"),  # of a phone
        (("0/0", "12/1"), "12/1"),
    ],
)
def test_the_rate_is_one_that_frames_can_have(stand_in, tmp_path, rates, rate):
    stand_in(r_frame_rate=rates[0], avg_frame_rate=rates[1])
    assert frame_rate(tmp_path / "clip.mp4") == rate


@pytest.mark.parametrize("rates", [("0/0", "0/0"), ("90000/1", None), ("N/A", "90000/1")])
def test_without_a_rate_a_video_is_one_line(stand_in, tmp_path, rates):
    stand_in(r_frame_rate=rates[0], avg_frame_rate=rates[1])
    with pytest.raises(UserError, match=r"clip.mp4: how many frames it has in a second is not"):
        frame_rate(tmp_path / "clip.mp4")


def test_frames_are_asked_for_in_8_bits_and_a_cut_one_is_left_out(stand_in, tmp_path):
    folder = stand_in(frames=3)
    frames = list(read_frames(tmp_path / "clip.mp4", "25/1"))
    assert [(frame.shape, frame.dtype) for frame in frames] == [((8, 8, 3), np.uint8)] * 3
    assert "-pix_fmt rgb24" in (folder / "reader").read_text()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "coded"),
    [
        ("programs.mkv", ("-pix_fmt", "yuv420p", "-f", "mpegts")),  # rates of programs and streams
        ("deep.mkv", ("-pix_fmt", "yuv420p10le", "-c:v", "ffv1")),
        ("-odd:name.mp4", ("-pix_fmt", "yuv420p")),
    ],
)
def test_unusual_videos_are_read_right(copy, tmp_path, name, coded):
    clip = tmp_path / name
    source = ("-f", "lavfi", "-i", "testsrc=size=64x32:rate=25:duration=1.4")
    subprocess.run(["ffmpeg", "-v", "error", *source, *coded, f"file:{clip}"], check=True)
    translate(copy, clip, output=tmp_path / "out", native=True)
    assert frame_rate(tmp_path / "out" / name) == "25/1"
    before, after = (list(read_frames(each, "25")) for each in (clip, tmp_path / "out" / name))
    assert len(before) == len(after) == 35
    assert np.abs(before[0].astype(int) - after[0]).mean() < 10  # the encoder's doing


@needs_ffmpeg
def test_a_video_that_fails_halfway_does_not_stop_the_others(copy, tmp_path, capsys):
    source = ("-f", "lavfi", "-i", "testsrc=size=64x32:rate=10:duration=1")
    (tmp_path / "in").mkdir()
    for name in ("1.mp4", "2.mp4"):
        subprocess.run(["ffmpeg", "-v", "error", *source, tmp_path / "in" / name], check=True)
    (tmp_path / "out/1.mp4").mkdir(parents=True)  # in the way of a result
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(copy, tmp_path / "in", output=tmp_path / "out", overwrite=True)
    assert f"Skipped   {tmp_path}/out/1.mp4: could not be written" in capsys.readouterr().out
    assert written(tmp_path / "out") == {"2.mp4"}


def test_a_full_disk_ends_a_video_though_ffmpeg_is_content(copy, stand_in, tmp_path):
    stand_in(ending='sys.exit(print("trailer: No space left on device", file=sys.stderr))')
    for name in ("1.mp4", "2.mp4"):
        (tmp_path / name).touch()
    said = "out/1.mp4: could not be written .trailer: No space left on device.. Free some space"
    with pytest.raises(FullDiskError, match=said):
        translate(copy, tmp_path / "1.mp4", tmp_path / "2.mp4", output=tmp_path / "out")
    assert written(tmp_path / "out") == set()


def is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_stop_during_a_video_leaves_nothing_behind(small, stand_in, tmp_path):
    folder, run = stand_in(frames=10**9), make_run(tmp_path / "run", small)
    (tmp_path / "clip.mp4").touch()
    process = start("translate", str(run), str(tmp_path / "clip.mp4"), "--output=out")
    while not (folder / "writer").exists() or not (folder / "writer").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    assert written(tmp_path / "out") == {".partial-clip.mp4"}
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors(stderr) == ["Stopped. The same command starts again."]
    assert written(tmp_path / "out") == set()
    numbers = [int((folder / name).read_text().split()[0]) for name in ("reader", "writer")]
    assert [number for number in numbers if is_running(number)] == []
