"""The servers: HTTP with DICOMweb and the viewer, DIMSE, and their supervisor."""
