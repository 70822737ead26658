"""The same networks and the same update in PyTorch, as one would write them from the paper.

    python benchmarks/train_step.py

measures them beside this program, where PyTorch is installed. They have a process of their own, as
PyTorch and TensorFlow do not always get on in one.
"""

import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import nn


class UNet(nn.Module):
    """C64-…-C512 and CD512-…-C64, with skips."""

    def __init__(self, size: int) -> None:
        super().__init__()
        filters = [min(64 * 2**level, 512) for level in range(size.bit_length() - 1)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels = 3
        for level, count in enumerate(filters):
            block = [nn.LeakyReLU(0.2)] if level else []
            block.append(nn.Conv2d(channels, count, 4, 2, 1, bias=False))
            if 0 < level < len(filters) - 1:
                block.append(nn.InstanceNorm2d(count, affine=True))
            self.down.append(nn.Sequential(*block))
            channels = count
        for place, count in enumerate(filters[-2::-1]):
            block = [nn.ReLU(), nn.ConvTranspose2d(channels, count, 4, 2, 1, bias=False)]
            block.append(nn.InstanceNorm2d(count, affine=True))
            block += [nn.Dropout(0.5)] if place < 3 else []
            self.up.append(nn.Sequential(*block))
            channels = 2 * count
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the generated picture."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = torch.cat([block(x), skip], dim=1)
        return self.last(x)


def patch_gan() -> nn.Module:
    """C64-C128-C256-C512, and one channel of logits."""
    blocks, channels = [], 6
    for count, stride in ((64, 2), (128, 2), (256, 2), (512, 1)):
        blocks.append(nn.Conv2d(channels, count, 4, stride, 1, bias=count == 64))
        blocks += [] if count == 64 else [nn.InstanceNorm2d(count, affine=True)]
        blocks.append(nn.LeakyReLU(0.2))
        channels = count
    return nn.Sequential(*blocks, nn.Conv2d(channels, 1, 4, 1, 1))


def draw_weights(layer: nn.Module) -> None:
    """Draw the weights of a convolution from N(0, 0.02)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0, 0.02)


def measurements(size: int, batch_size: int) -> dict[str, Callable[[], float]]:
    """What can be measured, each a function that returns seconds, or bytes."""
    generator, discriminator = UNet(size).apply(draw_weights), patch_gan().apply(draw_weights)
    networks = generator, discriminator
    optimizers = [
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in networks
    ]
    entropy = nn.BCEWithLogitsLoss()
    source, target = (torch.rand(batch_size, 3, size, size) * 2 - 1 for _ in range(2))
    eight = torch.rand(8, 3, size, size) * 2 - 1

    def step() -> None:
        generated = generator(source)
        real = discriminator(torch.cat([source, target], dim=1))
        fake = discriminator(torch.cat([source, generated], dim=1))
        l1 = (target - generated).abs().mean()
        generator_loss = entropy(fake, torch.ones_like(fake)) + 100 * l1
        truth = entropy(real, torch.ones_like(real))
        discriminator_loss = (truth + entropy(fake, torch.zeros_like(fake))) / 2
        losses = generator_loss, discriminator_loss
        for network, loss in zip(networks, losses, strict=True):
            weights = list(network.parameters())
            gradients = torch.autograd.grad(loss, weights, retain_graph=loss is generator_loss)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
        for optimizer in optimizers:
            optimizer.step()

    def update() -> None:
        for network, optimizer in zip(networks, optimizers, strict=True):
            for weight in network.parameters():
                weight.grad = torch.full_like(weight, 1e-3)
            optimizer.step()

    @torch.inference_mode()
    def generate(pictures: torch.Tensor) -> None:
        generator(pictures)

    return {
        "train step": lambda: timed(step),
        "optimiser update": lambda: timed(update),
        "inference, batch 1": lambda: timed(lambda: generate(source[:1])),
        "inference, batch 8": lambda: timed(lambda: generate(eight)),
        "peak memory": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def timed(function: Callable[[], None]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Answer each line that names a measurement with its figure."""
    size, batch_size = map(int, sys.argv[1:])
    figures = measurements(size, batch_size)
    for line in sys.stdin:
        print(figures[line.strip()](), flush=True)


if __name__ == "__main__":
    main()
