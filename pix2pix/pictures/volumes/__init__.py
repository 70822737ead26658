"""Volumes of medicine, NIfTI files and DICOM series: their slices as pictures, and back."""
