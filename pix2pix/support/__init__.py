"""Ground floor: what the training stands on. Knows arrays, files, plain values; never options."""
