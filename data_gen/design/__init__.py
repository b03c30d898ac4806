"""Optimal design of apertures: the smallest Cramer-Rao bound of regional uptakes, by gradient and by grid."""

from data_gen.design.check import GainCheck, montecarlo_check
from data_gen.design.objective import DesignObjective
from data_gen.design.organs import organ_task
from data_gen.design.redesign import redesigned
from data_gen.design.search import Bounds, Search, Trial, by_gradient, by_grid
from data_gen.design.study import (
    PARAMETERS,
    Comparison,
    DesignProblem,
    MaterialDesign,
    best_of,
    compare,
    design,
)
from data_gen.design.task import RegionalTask, regional_task, surroundings

__all__ = [
    "PARAMETERS",
    "Bounds",
    "Comparison",
    "DesignObjective",
    "DesignProblem",
    "GainCheck",
    "MaterialDesign",
    "RegionalTask",
    "Search",
    "Trial",
    "best_of",
    "by_gradient",
    "by_grid",
    "compare",
    "design",
    "montecarlo_check",
    "organ_task",
    "redesigned",
    "regional_task",
    "surroundings",
]
