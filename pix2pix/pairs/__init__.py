"""Which files belong together, how they are split, made up and changed; what is learned of them."""

from pix2pix.pairs.augment import augment
from pix2pix.pairs.pair_folders import find_pairs
from pix2pix.pairs.splits import CheckedSplit, Split, choose_shown
from pix2pix.pairs.synthetic import synthetic_splits

__all__ = ["CheckedSplit", "Split", "augment", "choose_shown", "find_pairs", "synthetic_splits"]
