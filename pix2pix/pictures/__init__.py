"""Any picture file ↔ pixels ↔ values from -1 to 1; and what the pictures of a side mean."""

from pix2pix.pictures.sides import PHOTOS, Side
