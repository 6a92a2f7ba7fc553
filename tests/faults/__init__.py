"""Faults of the disk, of files and of folders, in every mode: `python -m tests.faults`."""
