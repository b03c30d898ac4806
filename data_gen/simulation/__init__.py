"""Simulated data sets: the plan of a data set, one scan, and all scans on several processes."""

from data_gen.simulation.plan import DatasetPlan

__all__ = ["DatasetPlan"]
