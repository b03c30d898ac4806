"""Methods compared on unseen samples: clean, with fewer counts, under attack, over repeated noise."""

from hspi_learn.evaluation.case import ReconstructionCase, TaskCase, thinned_scans
from hspi_learn.evaluation.classification_report import (
    ClassificationReport,
    ClassificationScores,
    ClassifiedSamples,
)
from hspi_learn.evaluation.conformal import Calibration, conformal_quantile
from hspi_learn.evaluation.coverage import ConformalCoverage, CoverageReport
from hspi_learn.evaluation.denoising import DenoisingProtocol, DenoisingReport
from hspi_learn.evaluation.identifiability import LeastDeviations, least_deviations
from hspi_learn.evaluation.judge import Judge, JudgedError, Scores
from hspi_learn.evaluation.noise import NoisePoint, Sweep, noise_study
from hspi_learn.evaluation.output import ReconstructionReport, print_result
from hspi_learn.evaluation.protocols import (
    Call,
    EvaluationProtocol,
    ReconstructionProtocol,
    Report,
    TaskScores,
)
from hspi_learn.evaluation.reconstruction import ReconstructionOutcome, ReconstructionStudy, Tuned
from hspi_learn.evaluation.report_card import CardReport, ReportCard
from hspi_learn.evaluation.study import AttackRecord, BoundedAttack, Condition, Conditions, Method, Outcome
from hspi_learn.evaluation.summary import noise_summary, summary
from hspi_learn.evaluation.tables import Table
from hspi_learn.evaluation.task_report import SampleScores, TaskReport

__all__ = [
    "AttackRecord",
    "BoundedAttack",
    "Calibration",
    "Call",
    "CardReport",
    "ClassificationReport",
    "ClassificationScores",
    "ClassifiedSamples",
    "Condition",
    "Conditions",
    "ConformalCoverage",
    "CoverageReport",
    "DenoisingProtocol",
    "DenoisingReport",
    "EvaluationProtocol",
    "Judge",
    "JudgedError",
    "LeastDeviations",
    "Method",
    "NoisePoint",
    "Outcome",
    "ReconstructionCase",
    "ReconstructionOutcome",
    "ReconstructionProtocol",
    "ReconstructionReport",
    "ReconstructionStudy",
    "Report",
    "ReportCard",
    "SampleScores",
    "Scores",
    "Sweep",
    "Table",
    "TaskCase",
    "TaskReport",
    "TaskScores",
    "Tuned",
    "conformal_quantile",
    "least_deviations",
    "noise_study",
    "noise_summary",
    "print_result",
    "summary",
    "thinned_scans",
]
