"""DICOM: `series` reads volumes, `pixels` frames, `header` the index; `write` makes instances."""
