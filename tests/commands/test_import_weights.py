"""Weights of the authors' PyTorch code: they become a run, and a run becomes such weights."""

import dataclasses
import json
import os
import resource
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_picture, make_run, small_task
from helpers import evaluate, export, translated

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.import_weights import import_weights
from pix2pix.commands.open_run import open_run
from pix2pix.options.commands import ImportWeights
from pix2pix.talk.errors import UsageError, UserError


def their_network(torch, depth, filters, norm, dropout):
    """The published network, rebuilt: blocks within blocks, each of which adds what it made to what
    it was given, in the order of layers from which the names of the weights come."""
    nn = torch.nn
    bias = norm == "instance"
    new_norm = nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d

    class Block(nn.Module):
        def __init__(self, outer, inner, channels, inside=None, outermost=False):
            super().__init__()
            self.outermost = outermost
            down = nn.Conv2d(channels, inner, 4, 2, 1, bias=bias)
            wide = inner if inside is None else 2 * inner
            up = nn.ConvTranspose2d(wide, outer, 4, 2, 1, bias=bias or outermost)
            layers = [nn.LeakyReLU(0.2, True), down, new_norm(inner)]
            layers += [inside, nn.ReLU(True), up, new_norm(outer)]
            if outermost:
                layers = [down, inside, nn.ReLU(True), up, nn.Tanh()]
            elif inside is None:
                layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, new_norm(outer)]
            elif dropout and inner == outer:
                layers.append(nn.Dropout(0.5))
            self.model = nn.Sequential(*layers)

        def forward(self, x):
            made = self.model(x)
            return made if self.outermost else torch.cat([x, made], 1)

    counts = [filters * min(2**level, 8) for level in range(depth)]
    block = None
    for level in reversed(range(1, depth)):
        block = Block(counts[level - 1], counts[level], counts[level - 1], block)
    network = nn.Module()
    network.model = Block(3, counts[0], 3, block, outermost=True)
    return network


def theirs(torch, tmp_path, depth, norm, dropout=False):
    """Such a network with random weights, saved; and one to load weights into."""
    torch.manual_seed(0)
    network = their_network(torch, depth, 2, norm, dropout)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            positive = "var" in name or (value.ndim == 1 and name.endswith("weight"))
            new = torch.rand_like(value) + 0.5 if positive else 0.1 * torch.randn_like(value)
            value.copy_(new)
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    return network


def run_theirs(torch, network, source, training):
    network.train(training)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    with torch.no_grad():
        return network.model(torch.tensor(source).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def load(tmp_path, **options):
    options = {"name": "theirs", "output": tmp_path / "runs", **options}
    path = tmp_path / "latest_net_G.pth"
    return import_weights(ImportWeights(path, **options))


@pytest.mark.parametrize(
    ("depth", "norm", "statistics", "dropout"),
    [
        (8, "batch", "picture", True),
        (7, "batch", "running", False),
        (7, "instance", "picture", True),
        (8, "instance", "running", False),
    ],
)
def test_weights_of_the_authors_code_compute_the_same_here_and_back(
    tmp_path, monkeypatch, depth, norm, statistics, dropout
):
    torch = pytest.importorskip("torch")
    network = theirs(torch, tmp_path, depth, norm, dropout)
    run = load(tmp_path, statistics=statistics)
    trained = open_run(run)
    assert trained.generator.input_shape == (None, 2**depth, 2**depth, 3)
    source = np.random.default_rng(0).uniform(-1, 1, (1, 2**depth, 2**depth, 3)).astype("f4")
    expected = run_theirs(torch, network, source, training=statistics == "picture")
    ours = script.generate(trained.generator, tf.constant(source))
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4)

    folder = export(run, "pytorch")
    again = their_network(torch, depth, 2, norm, dropout)
    again.load_state_dict(torch.load(folder / "latest_net_G.pth", weights_only=True))
    back = run_theirs(torch, again, source, training=statistics == "picture")
    np.testing.assert_allclose(back, expected, atol=1e-6)
    card = (folder / "README.md").read_text()
    running = norm == "batch" and statistics == "running"
    assert f"`unet_{2**depth} --norm {norm}{' --eval' * running}`" in card


def test_a_run_of_ours_computes_the_same_in_the_authors_code(small, tmp_path):
    torch = pytest.importorskip("torch")
    run = make_run(tmp_path / "run", dataclasses.replace(small, generator_filters=2))
    trained, folder = open_run(run), export(run, "pytorch")
    network = their_network(torch, 5, 2, "batch", True)
    network.load_state_dict(torch.load(folder / "latest_net_G.pth", weights_only=True))
    expected = script.generate(trained.generator, tf.constant(trained.example))
    made = run_theirs(torch, network, trained.example, training=True)
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_an_imported_run_is_translated_evaluated_and_trained_further(tmp_path, small, capsys):
    torch = pytest.importorskip("torch")
    theirs(torch, tmp_path, 5, "instance")
    run = load(tmp_path, dataset="synthetic")
    assert "a U-Net of 5 levels, 2 filters, plain-instance" in capsys.readouterr().out
    make_picture(tmp_path / "x.png", 40, 30)
    assert translated(run, tmp_path / "x.png", tmp_path / "out").shape == (40, 30, 3)
    evaluate(run, split="val")
    assert json.loads((run / "results/metrics.json").read_text())["step"] == 0
    before = open_run(run).generator.get_weights()
    flags = ["--name", "theirs", "--output", str(tmp_path / "runs"), "--steps", "1"]
    command_line.main(["train", *flags])
    after = open_run(run)
    assert after.step == 1
    changes = [
        np.abs(a - b).max() for a, b in zip(before, after.generator.get_weights(), strict=True)
    ]
    assert 0 < max(changes) < 1e-3  # one step on from their weights, not from new ones


def test_without_a_dataset_an_imported_run_asks_for_one(tmp_path):
    torch = pytest.importorskip("torch")
    theirs(torch, tmp_path, 5, "batch")
    run = load(tmp_path)
    with pytest.raises(UsageError, match="not known. Name it: --dataset"):
        evaluate(run)
    with pytest.raises(UserError, match="there is a run already. Choose another --name"):
        load(tmp_path)


def test_a_file_that_is_no_such_network_is_one_line(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "latest_net_G.pth"
    with pytest.raises(UserError, match="No such file"):
        load(tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a file of PyTorch weights"):
        load(tmp_path)
    torch.save({"model.1.weight": torch.zeros(64, 3, 7, 7)}, path)  # as in a resnet_9blocks
    with pytest.raises(UserError, match="not a unet_256 or unet_128"):
        load(tmp_path)
    weights = theirs(torch, tmp_path, 5, "batch").state_dict()
    weights["model.model.1.model.1.weight"] = torch.zeros(5, 5, 4, 4)
    torch.save(weights, path)
    with pytest.raises(UserError, match="not a unet_256 or unet_128"):
        load(tmp_path)
    weights = theirs(torch, tmp_path, 5, "batch").state_dict()
    torch.save(weights | {"model.model.0.weight": torch.tensor(1.0)}, path)
    with pytest.raises(UserError, match="not a unet_256 or unet_128"):
        load(tmp_path)
    torch.save(weights | {"model.model.0.weight": torch.full((2, 3, 4, 4), torch.nan)}, path)
    with pytest.raises(UserError, match=r"model\.model\.0\.weight is not finite"):
        load(tmp_path)
    vast = torch.zeros(1).expand(10**5, 10**5)  # one number, seen many times
    torch.save(weights | {"model.model.0.weight": vast}, path)
    with pytest.raises(UserError, match="bytes would become 40,000,"):
        load(tmp_path)
    torch.save(weights | {"model.model.0.weight": torch.zeros(2**17, 3, 4, 4)}, path)
    with pytest.raises(UserError, match="--generator-filters must be .*, not 131072"):
        load(tmp_path)
    torch.save(weights, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(2**26))
    with pytest.raises(UserError, match="bytes would become 67,"):
        load(tmp_path)
    torch.save({"x": os.system}, path)  # what could run a program is not read
    with pytest.raises(UserError, match="not a file of PyTorch weights"):
        load(tmp_path)
    assert not (tmp_path / "runs").exists()


def test_names_of_a_network_beyond_the_memory_are_refused_before_it_is_built(tmp_path):
    torch = pytest.importorskip("torch")
    weights = theirs(torch, tmp_path, 8, "batch").state_dict()
    weights |= {"model.model.0.weight": torch.zeros(1024, 3, 4, 4)}  # of the first layer alone
    torch.save(weights, tmp_path / "latest_net_G.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB
    said = r"model\.model\.1\.model\.1\.weight: \(4, 4, 2, 4\), not \(4, 4, 1024, 2048\)"
    with pytest.raises(UserError, match=f"not a unet_256 or unet_128 .*{said}"):
        load(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "options",
    [
        *({"upsampling": "resize"}, {"padding": "reflect"}, {"normalization": "none"}),
        *({"task": "colorize"}, {"depth": 4}),
    ],
)
def test_what_the_authors_code_has_no_network_for_is_refused(small, tmp_path, options):
    pytest.importorskip("torch")
    config = dataclasses.replace(small_task(small, options.get("task", "pairs")), **options)
    run = make_run(tmp_path / "run", config)
    with pytest.raises(UserError, match="the authors' code has no such network"):
        export(run, "pytorch")
    assert list((run / "export").iterdir()) == []
