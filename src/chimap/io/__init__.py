"""Reading scanner data and writing results: NIfTI, BIDS, DICOM, phase scaling."""
