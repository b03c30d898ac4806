"""Methods compared on unseen scans: clean, with fewer counts, under attack, over repeated noise."""

from hspi_learn.evaluation.case import Case
from hspi_learn.evaluation.judge import Judge, JudgedError, Scores
from hspi_learn.evaluation.noise import NoisePoint, Sweep, noise_study
from hspi_learn.evaluation.output import Evaluation, print_result
from hspi_learn.evaluation.study import Adversary, Condition, Outcome, Study, Tuned
from hspi_learn.evaluation.summary import noise_summary, summary
from hspi_learn.evaluation.tables import Table

__all__ = [
    "Adversary",
    "Case",
    "Condition",
    "Evaluation",
    "Judge",
    "JudgedError",
    "NoisePoint",
    "Outcome",
    "Scores",
    "Study",
    "Sweep",
    "Table",
    "Tuned",
    "noise_study",
    "noise_summary",
    "print_result",
    "summary",
]
