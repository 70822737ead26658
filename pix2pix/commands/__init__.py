"""Upper floor: what is done with a dataset, or with a trained run. One file a command."""
