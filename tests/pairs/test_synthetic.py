"""The made-up facades."""

import numpy as np

from pix2pix.pairs.synthetic import CLASSES, draw_facade


def test_synthetic_is_the_same_for_the_same_seed():
    photo, labels = draw_facade(3, 7, (96, 96))
    again = draw_facade(3, 7, (96, 96))
    np.testing.assert_array_equal(photo, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert not np.array_equal(photo, draw_facade(3, 8, (96, 96))[0])
    assert not np.array_equal(photo, draw_facade(4, 7, (96, 96))[0])


def test_synthetic_label_maps_hold_only_class_colours_and_photos_follow_them():
    colours = {tuple(map(int, label)) for label, _ in CLASSES.values()}
    seen = set()
    for number in range(20):
        photo, labels = draw_facade(0, number, (128, 128))
        assert photo.shape == labels.shape == (128, 128, 3)
        assert photo.dtype == labels.dtype == np.uint8
        seen |= {tuple(map(int, colour)) for colour in np.unique(labels.reshape(-1, 3), axis=0)}
        wall, glass = (
            photo[(labels == CLASSES[name][0]).all(-1)].mean() for name in ("facade", "window")
        )
        assert wall > glass + 20
    assert seen == colours
