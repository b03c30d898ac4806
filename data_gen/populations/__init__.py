"""Individuals without end: scans drawn from few anatomies whose images are known region by region."""

from data_gen.populations.online import DrawnScan, OnlinePopulation
from data_gen.populations.region_images import RegionImages

__all__ = ["DrawnScan", "OnlinePopulation", "RegionImages"]
