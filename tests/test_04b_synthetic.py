"""Section 4b: the made-up facades."""

import numpy as np

import image_to_image_translation as pix2pix


def test_synthetic_is_the_same_for_the_same_seed():
    photo, labels = pix2pix.draw_facade(3, 7, (96, 96))
    again = pix2pix.draw_facade(3, 7, (96, 96))
    np.testing.assert_array_equal(photo, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert not np.array_equal(photo, pix2pix.draw_facade(3, 8, (96, 96))[0])
    assert not np.array_equal(photo, pix2pix.draw_facade(4, 7, (96, 96))[0])


def test_synthetic_label_maps_hold_only_class_colours_and_photos_follow_them():
    colours = {tuple(map(int, label)) for label, _ in pix2pix.CMP.values()}
    seen = set()
    for number in range(20):
        photo, labels = pix2pix.draw_facade(0, number, (128, 128))
        assert photo.shape == labels.shape == (128, 128, 3)
        assert photo.dtype == labels.dtype == np.uint8
        seen |= {tuple(map(int, colour)) for colour in np.unique(labels.reshape(-1, 3), axis=0)}
        wall, glass = (
            photo[(labels == pix2pix.CMP[name][0]).all(-1)].mean() for name in ("facade", "window")
        )
        assert wall > glass + 20
    assert seen == colours


def test_synthetic_splits_share_no_picture(small):
    splits, direction = pix2pix.find_pairs(small)
    assert direction == "BtoA"
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "train": 400,
        "val": 100,
        "test": 106,
    }
    names = [name for pairs in splits.values() for name in pairs.names]
    assert len(set(names)) == len(names) == 606
    first, drawn = splits["val"].read(0), pix2pix.draw_facade(0, 400, (32, 32))
    np.testing.assert_array_equal(first, drawn[::-1])
