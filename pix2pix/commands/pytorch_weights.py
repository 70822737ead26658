"""The old place of pix2pix.commands.import_weights, from which notebooks import."""

from pix2pix.commands.import_weights import import_weights as import_weights
