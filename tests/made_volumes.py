"""Volumes made for tests: NIfTI files, and DICOM series as scanners write them."""

from pathlib import Path

import numpy as np

# What is left and back in a patient first, as most programs store axial slices; 3 mm apart.
LEFT_TO_RIGHT = np.array([[2.0, 0, 0, -20], [0, 2, 0, -18], [0, 0, 3, -9], [0, 0, 0, 1]])


def numbers(shape: tuple[int, ...] = (20, 16, 6), seed: int = 0) -> np.ndarray:
    """Whole numbers like those of a CT."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)


def make_nifti(path: Path, voxels: np.ndarray, affine=LEFT_TO_RIGHT) -> Path:
    """Write a NIfTI file."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def make_series(folder: Path, stored: np.ndarray, patient: str = "", **changes) -> Path:
    """Write a DICOM series of CT, its slices [slices, rows, columns] from the feet on: Hounsfield
    units are what is stored, times 2 and minus 1024. `changes` are of all of its files."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid(entropy_srcs=[str(folder)])
    for k, pixels in enumerate(stored):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(folder), str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, "1.2.3"
        dataset.PatientID, dataset.InstanceNumber = patient, k + 1
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-20, -30, 100 + 2.5 * k]
        dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 2.5
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024
        dataset.PixelData = pixels.astype(np.int16).tobytes()
        for name, value in changes.items():
            setattr(dataset, name, value)
        # names that are not in the order of the slices
        pydicom.dcmwrite(folder / f"{len(stored) - k:03}.dcm", dataset)
    return folder


def change_file(file: Path, **changes) -> None:
    """Change what a DICOM file says."""
    import pydicom

    dataset = pydicom.dcmread(file)
    for name, value in changes.items():
        setattr(dataset.file_meta if name == "TransferSyntaxUID" else dataset, name, value)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
    pydicom.dcmwrite(file, dataset)
