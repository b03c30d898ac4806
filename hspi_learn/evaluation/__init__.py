"""Methods compared on unseen scans: clean, with fewer counts, under attack, over repeated noise."""

from hspi_learn.evaluation.case import Case
from hspi_learn.evaluation.judge import Judge, Scores
from hspi_learn.evaluation.noise import Setting, noise_study
from hspi_learn.evaluation.study import Adversary, Condition, Outcome, Study
from hspi_learn.evaluation.summary import noise_summary, summary
from hspi_learn.evaluation.tables import Table

__all__ = [
    "Adversary",
    "Case",
    "Condition",
    "Judge",
    "Outcome",
    "Scores",
    "Setting",
    "Study",
    "Table",
    "noise_study",
    "noise_summary",
    "summary",
]
