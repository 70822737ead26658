"""What the pictures of a dataset decide before a training: find (the script) → check → settle."""

from pix2pix.preparation.checking import check_pair, check_split, check_splits
from pix2pix.preparation.settling import (
    PICTURES_ASKED,
    check_layout,
    check_options,
    choose_direction,
    conclude,
    find_common_misfit,
    in_order,
    pair_to_values,
    prepare,
    settle,
    some_pictures,
    stored_sides,
    task_of,
    write_config,
)
