"""inspect: what is in a dataset, what is broken, and what the networks would see."""

import importlib


def __getattr__(name: str) -> object:
    """Find what is asked of this package in its command, which is loaded only then."""
    return getattr(importlib.import_module(f"{__name__}.command"), name)
