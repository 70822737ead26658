"""What the benchmarks compare with is what they say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SCRIPT
from PIL import Image

BENCHMARKS = SCRIPT.parent / "benchmarks"


def run(*arguments: object) -> str:
    """Run a benchmark and return what it prints."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_networks_in_pytorch_have_as_many_parameters():
    pytest.importorskip("torch")
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import pytorch_peer as peer\n"
        "for network in (peer.UNet(256), peer.patch_gan()):\n"
        "    print(sum(weight.numel() for weight in network.parameters()))\n"
        "print(peer.measurements(32, 1)['train step']() > 0)"
    )
    assert run("-c", program).split() == ["54413955", "2768705", "True"]


def test_an_exported_step_computes_the_same_without_tensorflow(tmp_path: Path):
    pytest.importorskip("jax")
    script = BENCHMARKS / "step_on_xla.py"
    run(script, "export", tmp_path, "--image-size", 32, "--filters", 2)
    hidden = "import sys; sys.modules['tensorflow'] = None; import runpy; sys.argv = sys.argv[1:]; "
    hidden += "runpy.run_path(sys.argv[0], run_name='__main__')"
    compiled, checked, timed = run("-c", hidden, script, "run", tmp_path, "--steps", 2).splitlines()
    assert "compiled in" in compiled
    difference = float(checked.removeprefix("5 steps: within ").split()[0])
    assert difference < 1e-4
    assert timed.endswith("ms a step of float32, over 2 steps")


def test_a_suite_of_pictures_is_read_counted_and_survived(tmp_path: Path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(grey).save(tmp_path / "sound.png")
    Image.fromarray(grey).save(tmp_path / "sound.tif")
    (tmp_path / "sound.txt").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "sound.png").read_bytes()[:50])
    rows = run(BENCHMARKS / "suites.py", tmp_path, "--workers", 1).splitlines()
    (refused,) = [row for row in rows if "cut.png" in row]
    assert refused.startswith(f"refused        {tmp_path}/cut.png: not a readable picture (")
    counts = {row.split()[0]: list(map(int, row.split()[1:])) for row in rows[2:5]}
    assert counts == {
        "PNG": [2, 1, 1, 0, 0, 0, 0, 0],
        "TIFF": [1, 1, 0, 0, 0, 0, 0, 0],
        "all": [3, 2, 1, 0, 0, 0, 0, 0],
    }
    assert "first to agree: Pillow 2" in rows  # the last line names what is not installed


WRONG_READER = """
import os, sys, time, types
sys.path[:0] = sys.argv[1:3]
del sys.argv[1:3]
import numpy as np
import suites

def read_wrongly(path):
    if path.stem == "deadly":
        os.abort()
    if path.stem == "lasting":
        time.sleep(600)
    return np.zeros((6, 8, 1), np.uint8)

reader = types.SimpleNamespace(read_picture=read_wrongly, SUFFIXES={".png"})
sys.modules["pix2pix.pictures.picture_files"] = reader
if __name__ == "__main__":
    suites.main()
"""


def test_a_reader_that_is_wrong_dies_or_lasts_is_found_out(tmp_path: Path):
    for name, value in (("black", 0), ("deadly", 0), ("lasting", 0), ("grey", 127)):
        Image.new("L", (8, 6), value).save(tmp_path / f"{name}.png")
    program = tmp_path / "program.py"
    program.write_text(WRONG_READER)
    floors = [BENCHMARKS, BENCHMARKS.parent]
    command = [sys.executable, program, *floors, tmp_path, "--workers", "1", "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {}
    for row in done.stdout.splitlines()[:3]:
        end, _, file = row.partition(str(tmp_path))
        found[file.split(": ")[0]] = end.strip()
    assert found == {
        "/deadly.png": "crashed",
        "/grey.png": "different",
        "/lasting.png": "timed out",
    }
    assert "Pillow: up to 0.498 apart in 75% of values" in done.stdout
    assert done.returncode == 1
