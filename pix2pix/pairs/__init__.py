"""Which files belong together, how they are split, made up and changed; what is learned of them."""

from pix2pix.pairs.alignment import move_to_source
from pix2pix.pairs.augment import augment, choose_window
from pix2pix.pairs.pair_folders import find_pairs
from pix2pix.pairs.splits import CheckedSplit, Split, choose_shown
from pix2pix.pairs.synthetic import synthetic_splits
