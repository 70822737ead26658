"""Videos as streams of pictures, for translate: ffmpeg reads and writes them."""

import json
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pix2pix.pictures.pixels import convert_channels
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import says_full_disk
from pix2pix.talk.lines import say_for_now

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
FIRST_VIDEO = "V:0"  # for ffmpeg; v:0 may be the picture on the cover of a recording
MOST_FRAMES_PER_SECOND = 240  # above it are the ticks of a clock, such as 90000/1


def is_video(path: Path) -> bool:
    """Tell by its name whether a file is a video."""
    return path.suffix.lower() in SUFFIXES


@contextmanager
def run_ffmpeg(program: str, *arguments: object, writes: bool = False) -> Iterator[Any]:
    """Run ffmpeg or ffprobe beside the block, and yield the stream of what it writes, or with
    `writes` of what is written to it. A block that fails ends it; where it fails itself, raise an
    OSError with its last words."""
    command = [program, "-v", "error", *map(str, arguments)]
    with tempfile.TemporaryFile() as said:
        try:
            stdin, stdout = (subprocess.PIPE, None) if writes else (None, subprocess.PIPE)
            process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=said)
        except FileNotFoundError as error:
            raise UserError(f"{program}: not found; install ffmpeg, or give frames.") from error
        with suppress(BrokenPipeError), process:  # a pipe breaks when ffmpeg fails: see below
            try:
                yield process.stdin if writes else process.stdout
            except BrokenPipeError:
                raise
            except BaseException:  # Ctrl-C, too
                process.kill()
                raise
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    if process.returncode or says_full_disk("\n".join(lines)):  # which ffmpeg may call a success
        raise OSError(lines[-1] if lines else f"{program} ended with {process.returncode}")


def frame_rate(path: Path) -> str:
    """Return the frames per second of a video, as a fraction."""
    entries = ("-show_entries", "stream=r_frame_rate,avg_frame_rate", "-of", "json")
    arguments = ("-select_streams", FIRST_VIDEO, *entries, f"file:{path}")
    try:
        with run_ffmpeg("ffprobe", *arguments) as output:
            answer = output.read()
        stream = json.loads(answer)["streams"][0]
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not a readable video.") from error
    for rate in (stream.get("r_frame_rate"), stream.get("avg_frame_rate")):
        with suppress(TypeError, ValueError, ZeroDivisionError):  # None, N/A, 0/0
            if 0 < Fraction(rate) <= MOST_FRAMES_PER_SECOND:
                return rate
    raise UserError(f"{path}: how many frames it has in a second is not known.")


def read_frames(path: Path, rate: str) -> Generator[np.ndarray]:
    """Read the pictures of a video, the right way up: [height, width, 3] of 8 bits."""
    pixels = ("-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24")
    arguments = ("-i", f"file:{path}", "-map", f"0:{FIRST_VIDEO}", "-r", rate, *pixels, "-")
    try:
        with run_ffmpeg("ffmpeg", *arguments) as output:
            while (frame := read_ppm(output)) is not None:
                yield frame
    except OSError as error:
        raise UserError(f"{path}: not a readable video ({error}).") from error


def read_ppm(stream: BinaryIO) -> np.ndarray | None:
    """Read the next picture of a stream of them; None where it ends, or was cut off."""
    header = [stream.readline() for _ in ("P6", "width and height", "255")]
    if not header[-1]:
        return None
    width, height = map(int, header[1].split())
    pixels = stream.read(3 * width * height)
    if len(pixels) < 3 * width * height:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def write_frames(frames: Iterable[np.ndarray], rate: str, original: Path, path: Path) -> None:
    """Write a video of these frames with the sound of the original."""
    frames = iter(frames)
    if (first := next(frames, None)) is None:
        raise UserError(f"{original}: not a readable video.")
    size = f"{first.shape[1]}x{first.shape[0]}"
    pixels = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "-")
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # most players want even sides, and this format
    coded = ("-vf", even, "-pix_fmt", "yuv420p", "-crf", "18", "-c:a", "copy")
    sound = ("-i", f"file:{original}", "-map", "0:v", "-map", "1:a?")
    arguments = ("-y", *pixels, *sound, *coded, f"file:{path}")
    with run_ffmpeg("ffmpeg", *arguments, writes=True) as stream:
        for count, frame in enumerate(chain([first], frames), 1):
            stream.write(convert_channels(frame, 3).tobytes())
            say_for_now(f"Translating {original.name}: frame {count:,}")
