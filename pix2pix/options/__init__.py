"""What can be asked: the options of each command, how they are kept, and what pictures decide."""

from pix2pix.options.commands import Compare, Draw, Evaluate, Export, ImportWeights, Translate
from pix2pix.options.found import Found
from pix2pix.options.saved import (
    fill_in_changed,
    find_run,
    older_options,
    shared_settings,
    write_run,
)
from pix2pix.options.train import DATASETS, Inspect, Train
