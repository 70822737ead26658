"""What can be asked: the options of each command, and what follows from those of a training."""

from pix2pix.options.commands import Compare, Draw, Evaluate, Export, ImportWeights, Translate
from pix2pix.options.train import DATASETS, Inspect, Train

__all__ = [
    "DATASETS",
    "Compare",
    "Draw",
    "Evaluate",
    "Export",
    "ImportWeights",
    "Inspect",
    "Train",
    "Translate",
]
