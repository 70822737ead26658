"""The old place of pix2pix.pairs.synthetic, from which notebooks import."""

from pix2pix.pairs.synthetic import draw_facade as draw_facade
