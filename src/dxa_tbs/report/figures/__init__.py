"""Drawings of the runs of a report, and of one run."""
