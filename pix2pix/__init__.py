"""The rooms around image_to_image_translation.py: what the training stands on, and what is done
before and after it (`commands`)."""

import os

__version__ = "0.1.0"

# TensorFlow reads these when it is loaded, so they are set before any file of ours loads it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hide its C++ messages; 0 brings them back
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # leave others the memory not needed
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # also on processors without AVX512-VNNI
