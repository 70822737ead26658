"""Recipes: values of options that belong together, by name. docs/QUALITY.md tells how they compare.

Loads neither TensorFlow nor Keras, as the command line needs it before them.
"""

from dataclasses import replace
from typing import Any, TypeVar

from pix2pix.options.train import Train

AnyTrain = TypeVar("AnyTrain", bound=Train)

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},  # the defaults
    "vivid": {
        "upsampling": "resize",
        "padding": "reflect",
        "labels": "auto",
        "discriminator": "auto",
        "critic": "features",
        "l1_weight": "auto",
        "feature_weight": "auto",
    },
    # What vivid has taken the place of; for older runs, and for comparisons.
    "crisp": {"upsampling": "resize"},
    "crisp-labels": {  # for sources that are label maps
        "upsampling": "resize",
        "padding": "reflect",
        "labels": "source",
        "discriminator": "classes",
        "l1_weight": 3.0,
    },
}


CHOICE = ("paper", "vivid")  # that a person has


def follow_recipe(options: AnyTrain, given: set[str]) -> AnyTrain:
    """Return options that follow their recipe, but for the fields that were given.

    What another recipe names and this one does not is at its default again."""
    named = {name for recipe in RECIPES.values() for name in recipe}
    plain = {name: getattr(Train, name) for name in named}
    values = plain | RECIPES[options.recipe]
    return replace(options, **{name: values[name] for name in values.keys() - given})
