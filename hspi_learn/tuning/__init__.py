"""Search for settings by Optuna: what is searched, and the trials of a search, kept in a file."""

from hspi_learn.tuning.search import Place, Pruned, ReportValidation, Search, SearchPlan, TrialRecord
from hspi_learn.tuning.space import OneOf, Range, read_space

__all__ = [
    "OneOf",
    "Place",
    "Pruned",
    "Range",
    "ReportValidation",
    "Search",
    "SearchPlan",
    "TrialRecord",
    "read_space",
]
