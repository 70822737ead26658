"""Videos as streams of pictures, for translate: ffmpeg reads and writes them."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np

from pix2pix.support.pictures import convert_channels
from pix2pix.support.terminal import UserError, say_for_now

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}


def is_video(path: Path) -> bool:
    """Tell by its name whether a file is a video."""
    return path.suffix.lower() in SUFFIXES


def start_ffmpeg(program: str, *arguments: object, **pipes: int) -> subprocess.Popen:
    """Start ffmpeg or ffprobe."""
    try:
        command = [program, "-v", "fatal", *map(str, arguments)]
        return subprocess.Popen(command, **pipes)
    except FileNotFoundError as error:
        raise UserError(f"{program}: not found; install ffmpeg, or give frames.") from error


def frame_rate(path: Path) -> str:
    """Return the frames per second, as a fraction."""
    which = ("-select_streams", "v:0", "-show_entries", "stream=r_frame_rate", "-of", "csv=p=0")
    with start_ffmpeg("ffprobe", *which, path, stdout=subprocess.PIPE, text=True) as process:
        rate = process.stdout.read().split(",")[0].strip()
    if not rate:
        raise UserError(f"{path}: not a readable video.")
    return rate


def read_frames(path: Path, rate: str) -> Iterator[np.ndarray]:
    """Read the pictures of a video, the right way up: [height, width, 3]."""
    arguments = ("-i", path, "-r", rate, "-f", "image2pipe", "-c:v", "ppm", "-")
    with start_ffmpeg("ffmpeg", *arguments, stdout=subprocess.PIPE) as process:
        while process.stdout.readline():  # of each picture: P6, width and height, 255, the pixels
            width, height = map(int, process.stdout.readline().split())
            process.stdout.readline()
            pixels = np.frombuffer(process.stdout.read(3 * width * height), np.uint8)
            yield pixels.reshape(height, width, 3)
    if process.returncode:
        raise UserError(f"{path}: ffmpeg could not read it.")


def write_frames(frames: Iterable[np.ndarray], rate: str, original: Path, path: Path) -> None:
    """Write a video of these frames with the sound of the original."""
    frames = iter(frames)
    if (first := next(frames, None)) is None:
        raise UserError(f"{original}: not a readable video.")
    size = f"{first.shape[1]}x{first.shape[0]}"
    pixels = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "-")
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # most players want even sides, and this format
    coded = ("-vf", even, "-pix_fmt", "yuv420p", "-crf", "18", "-c:a", "copy")
    sound = ("-i", original, "-map", "0:v", "-map", "1:a?")
    arguments = ("-y", *pixels, *sound, *coded, path)
    process = start_ffmpeg("ffmpeg", *arguments, stdin=subprocess.PIPE)
    with suppress(BrokenPipeError), process:
        for count, frame in enumerate(chain([first], frames), 1):
            process.stdin.write(convert_channels(frame, 3).tobytes())
            say_for_now(f"Translating {original.name}: frame {count:,}")
    if process.returncode:
        raise UserError(f"{original}: ffmpeg could not write its translation.")
