"""Data sets of simulated scans: what one is to hold, one scan, and all of them on several processes."""

from data_gen.simulation.plan import DatasetPlan

__all__ = ["DatasetPlan"]
