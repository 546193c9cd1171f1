"""Raw data of scanners, read into acquisitions: vendors' formats and open ones."""
