"""What a machine computes in; and that several devices or workers compute what one does."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import SCRIPT, SMALL, errors, flags, make_pair, settled

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.open_run import open_run
from pix2pix.networks import devices
from pix2pix.options.train import Train
from pix2pix.runs import checkpoint_files
from pix2pix.runs.tables import read_columns
from pix2pix.talk.errors import UserError

BIGGER = (SCRIPT.parent / "docs" / "BIGGER.md").read_text()
NO_DROPOUT = """
import sys, image_to_image_translation as script
script.layers.Dropout.call = lambda self, x, training=None: x
"""
TWO_DEVICES = """
import tensorflow as tf
device = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [device] * 2)
"""


OWN_DROPOUT = """
from pix2pix.networks import devices
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS
from pix2pix.preparation import conclude
options = script.Train(image_size=32, generator_filters=2)
found = conclude(options, [(Kind(channels=3, bits=8),) * 2], [PHOTOS] * 2)
with (strategy := devices.choose_strategy(batch_size=2)).scope():
    training = script.Training(options, found)
devices.start_alike(strategy, training.variables, training.noise, {})
assert len(training.noise) == 3
for noise in training.noise:
    first, second = (each.numpy() for each in strategy.experimental_local_results(noise))
    assert first[0] + 1 == second[0] and first[1] == second[1], (first, second)
"""


def start_program(*lines: str, arguments: list[str], **environment: str) -> subprocess.Popen:
    """The script after some lines of Python, in a process of its own."""
    program = "\n".join([*lines, "script.main(sys.argv[1:])"])
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parent)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("gpus", "cpu", "computing"),
    [
        ([(8, 0)], "", "bfloat16"),
        ([(9, 0), (7, 5)], "avx512_bf16", "float32"),
        ([], "flags: avx2 avx512_bf16 fma", "bfloat16"),
        ([], "flags: avx2 amx_bf16 fma", "bfloat16"),
        ([], "flags: avx2 avx512f fma", "float32"),
        ([], None, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_hardware_has_it(tmp_path, monkeypatch, gpus, cpu, computing):
    def details(capability: tuple[int, int]) -> dict:
        return {"compute_capability": capability}

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    if cpu is not None:
        (tmp_path / "cpuinfo").write_text(cpu)
    monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "cpuinfo")
    assert devices.choose_computing_type("auto") == computing
    assert devices.choose_computing_type("float16") == "float16"


@pytest.fixture(scope="module")
def one_device(tmp_path_factory) -> tuple[Train, list[np.ndarray]]:
    """20 steps without dropout on one device: the configuration, and the weights.

    On noise: where a picture is flat, its maps are, and normalising them enlarges all rounding.
    """
    output = tmp_path_factory.mktemp("devices")
    for k in range(12):
        make_pair(output / "pairs" / "train" / f"{k}.png", seed=k)
        make_pair(output / "pairs" / "val" / f"{k}.png", seed=100 + k)
    options = {"dataset": str(output / "pairs"), "batch_size": 4, "steps": 20, "depth": 3}
    config = dataclasses.replace(SMALL, checkpoint_every=10, output=output, name="one", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script.layers.Dropout, "call", lambda self, x, training=None: x)
        folder = script.train(config).folder
    return config, open_run(folder).generator.get_weights()


def assert_close(weights: list[np.ndarray], others: list[np.ndarray]) -> None:
    for ours, theirs in zip(weights, others, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_two_devices_are_as_good_as_one(one_device):
    config, expected = one_device
    config = dataclasses.replace(config, name="two")
    program = (TWO_DEVICES, NO_DROPOUT, OWN_DROPOUT)  # the last so that it has one process less
    process = start_program(*program, arguments=["train", *flags(config)])
    said, complaints = process.communicate(timeout=100)
    assert process.returncode == 0, complaints
    assert re.search(r"Device    2 × CPU", said)
    assert_close(open_run(config.output / "two").generator.get_weights(), expected)
    rows = [(config.output / name / "metrics.csv").read_text() for name in ("one", "two")]
    numbers = [[row.split(",")[:-1] for row in text.splitlines()[1:]] for text in rows]
    np.testing.assert_allclose(*(np.array(each, float) for each in numbers), rtol=1e-4)


def test_two_devices_have_one_critic(one_device, monkeypatch):
    config, _ = one_device
    config = dataclasses.replace(config, steps=2, checkpoint_every=2, batch_size=2, log_every=1)
    config = dataclasses.replace(config, critic="features", feature_weight=3.0, name="critic")
    monkeypatch.setattr(script.layers.Dropout, "call", lambda self, x, training=None: x)
    script.train(config)
    arguments = ["train", *flags(dataclasses.replace(config, name="critics"))]
    process = start_program(TWO_DEVICES, NO_DROPOUT, arguments=arguments)
    _, complaints = process.communicate(timeout=100)
    assert process.returncode == 0, complaints
    rows = [read_columns(config.output / name / "metrics.csv") for name in ("critic", "critics")]
    for name in ("critic", "generator_critic", "generator_features"):
        (before, after), theirs = rows[0][name], rows[1][name]
        np.testing.assert_allclose([before, after], theirs, rtol=1e-3, atol=2e-3)
        assert abs(before - after) > 0.004, name  # it has learned in between


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_workers(arguments: list[str]) -> list[subprocess.Popen]:
    """What the README tells to type on two machines, on two ports of this one."""
    block = re.search(r"export TF_CONFIG=(.*)\n", BIGGER)[1]
    for port in free_ports(2):
        block = re.sub(r"10\.0\.0\.\d:\d+", f"127.0.0.1:{port}", block, count=1)
    first = json.loads(block.split("#")[0].strip().strip("'"))
    assert len(set(first["cluster"]["worker"])) == 2
    second = first | {"task": {"type": "worker", "index": 1}}
    return [
        start_program(NO_DROPOUT, arguments=arguments, TF_CONFIG=json.dumps(each))
        for each in (first, second)
    ]


def test_two_workers_are_as_good_as_one_even_if_one_is_killed(one_device):
    config, expected = one_device
    config = dataclasses.replace(config, name="workers")
    folder = config.output / "workers"
    # more steps at first, so that there is something to be killed
    longer = dataclasses.replace(config, steps=100_000, keep_checkpoints=100)
    first, second = start_workers(["train", *flags(longer)])
    while not (folder / "ckpt-10.index").exists():
        assert (first.poll(), second.poll()) == (None, None), first.communicate()
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    _, complaints = first.communicate(timeout=100)
    assert first.returncode == 1
    assert "Traceback" not in complaints  # the lines before ours are TensorFlow's network's
    assert "lost the connection to another worker" in errors(complaints)[-1]
    for path in checkpoint_files.checkpoints(folder)[1:]:  # made before the kill came
        path.with_suffix(".index").unlink()

    workers = start_workers(["train", *flags(config)])
    said = [worker.communicate(timeout=100) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert "steps 11 to 20" in said[0][0]
    assert ["Saved" in out for out, _ in said] == [True, False]
    assert_close(open_run(folder).generator.get_weights(), expected)


@pytest.mark.parametrize(("batch", "taken"), [(1, 1), (4, 4), (6, 3), (7, 1)])
def test_as_many_gpus_as_divide_the_batch(monkeypatch, batch, taken):
    gpus = [tf.config.LogicalDevice(f"/device:GPU:{k}", "GPU") for k in range(4)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(devices, "strategy_of", lambda *names: names)
    strategy = devices.choose_strategy(batch)
    assert (len(strategy) if taken > 1 else strategy.num_replicas_in_sync) == taken


@pytest.mark.parametrize("text", ["{", '{"cluster": 3}', '{"cluster": {"worker": ["a:1", "b:1"]}}'])
def test_a_wrong_tf_config_is_named(small, monkeypatch, capsys, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(SystemExit):
        command_line.main(["train", *flags(small)])
    assert capsys.readouterr().err.startswith("error: TF_CONFIG: cannot be used (")
    assert not Path("runs").exists()


def test_workers_that_were_told_different_things_are_refused(small, monkeypatch, tmp_path):
    class Strategy:
        num_replicas_in_sync = 2
        extended = types.SimpleNamespace(should_checkpoint=False)
        scope = contextlib.nullcontext

    marks = []
    training = types.SimpleNamespace(is_writer=False, variables=[], noise=[])
    monkeypatch.setattr(script, "Training", lambda *_: training)

    def start(pairs: str = "6 pairs", **others) -> None:
        options = dataclasses.replace(small, direction="BtoA", **others)
        script.start_or_resume(options, settled(options, pairs=pairs), Strategy())

    monkeypatch.setattr(devices, "share_variables", lambda *_: marks.append("shared"))
    monkeypatch.setattr(devices, "total_of_all", lambda _, mark: marks.append(mark) or 2 * mark)
    start()
    start(output=tmp_path / "elsewhere", dataset="mine")
    assert marks[0] == marks[2]  # where things are may differ
    monkeypatch.setattr(devices, "total_of_all", lambda _, mark: mark + marks[0])
    for other in ({"l1_weight": 10.0}, {"pairs": "5 pairs"}):
        with pytest.raises(UserError, match="other options or other pictures"):
            start(**other)
