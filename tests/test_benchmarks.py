"""What the benchmarks compare with is what they say."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SCRIPT

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
