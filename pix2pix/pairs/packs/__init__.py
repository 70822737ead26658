"""Packs: pairs in tar shards, with one index that is all that is read before a training.

docs/BIGGER.md describes the files.
"""
