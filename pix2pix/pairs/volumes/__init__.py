"""Pairs of volumes: a pair of slices for each slice that they have."""
