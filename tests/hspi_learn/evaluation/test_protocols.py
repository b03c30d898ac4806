"""How evaluations cut their work into calls and put the results together again, on six mice in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS as LABELS
from hspi_learn.attacks import PoissonBall, RandomPerturbation
from hspi_learn.classical import KernelRidge, MapRdp, MeanImage, OrganOracle, Osem, RegionalMl, Sharpened
from hspi_learn.data import collate
from hspi_learn.evaluation import (
    BoundedAttack,
    Call,
    Condition,
    Conditions,
    Judge,
    ReconstructionCase,
    ReconstructionProtocol,
    TaskScores,
    least_deviations,
)
from hspi_learn.evaluation.figures import EvaluationFigures
from hspi_learn.evaluation.report import findings
from hspi_learn.evaluation.study import FULL
from hspi_learn.evaluation.summary import summary
from hspi_learn.evaluation.tables import counts_table, headline_table
from hspi_learn.metrics import scan_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext
from hspi_learn.tasks import Inputs
from hspi_learn.tasks.base import Watched


class Calls:
    """Runs every call in this process, and keeps what was asked for."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.asked: dict[str, list[Call]] = {}

    def __call__(self, title: str, calls: Sequence[Call]) -> list[Any]:
        self.asked[title] = list(calls)
        return [getattr(self.protocol, name)(*arguments) for name, arguments in calls]


class Data:
    """Six test scans, the last three for training and the first two for validation; batches of four."""

    def __init__(self, scans: ScanBatch, model: HyperspectralForwardModel, folder: Path) -> None:
        labels = torch.where(scans.labels == 2, LABELS.index("tumour"), scans.labels)
        alone = [ScanBatch(*(part[i] for part in scans._replace(labels=labels))) for i in range(6)]
        self.by_split = {"test": alone, "train": alone[3:], "validation": alone[:2]}
        self.batch_size, self.folder, self.windows = 4, folder, model.energy_bins
        self.system = SimpleNamespace(forward_model=lambda windows: model, to_dict=lambda: {"name": "toy"})

    def scans(self, split: str) -> list[ScanBatch]:
        return self.by_split[split]

    windowed = scans


@pytest.fixture
def data(scans: ScanBatch, model32: HyperspectralForwardModel, tmp_path: Path) -> Any:
    return Data(scans, model32, tmp_path)


class Toy:
    """Predicts the counts of a scan times a factor; the counts themselves are right."""

    reduction = "mean"
    higher_is_better = frozenset({"share"})
    watched = Watched("val/error", "min")
    system = SimpleNamespace(live=None)

    def __init__(self, factor: float, space: str = "counts") -> None:
        self.factor, self.space = factor, space

    def inputs(self, batch: ScanBatch) -> Inputs:
        return Inputs(batch.projections, self.space)  # type: ignore[arg-type]

    def predict(self, inputs: Inputs) -> Tensor:
        return self.factor * inputs.values.sum((1, 2))

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        share = prediction / batch.projections.sum((1, 2))
        return {"error": (share - 1).abs(), "share": share}

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        return self.scores(prediction, batch)["error"]

    def expected(self, batch: ScanBatch) -> Tensor | None:
        return None

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        assert batch.index.tolist() == [0]
        yield "picture", Figure()


class Other(Toy):
    """A task of another kind."""


def attack(radius: float = 1.0) -> BoundedAttack:
    ball: Any = PoissonBall(radius)
    return BoundedAttack(RandomPerturbation(1), ball)


def scored(data: Any, conditions: Conditions, **runs: Any) -> Any:
    calls = Calls()
    calls.protocol = TaskScores(runs, data, conditions)
    return calls.protocol.evaluate(calls), calls.asked


def test_scores_of_a_task_over_all_batches(data: Any) -> None:
    """Batches of four and two; 1.5 and 0.9 times the counts are 50 and 10 % off; watched is the score, facts
    and figures by name.
    """
    report, asked = scored(data, Conditions(), mine=Toy(1.5), gan=Toy(0.9))
    assert asked == {"test samples": [("outcome", (range(0, 4),)), ("outcome", (range(4, 6),))]}
    numbers = report.numbers()
    assert numbers["test/samples"] == 6
    assert numbers["test/error/mine"] == pytest.approx(0.5)
    assert numbers["test/share/gan"] == pytest.approx(0.9)
    assert numbers["test/error_difference/mine_minus_gan"] == pytest.approx(0.4)
    assert (report.title, report.watched, report.headline) == ("Toy: 6 unseen samples", "error", "mean")
    assert report.higher_is_better == {"share"}
    assert report.facts == {"Task": "Toy", "Test samples": "6", "Data": str(data.folder)}
    assert {name: page.caption for name, page in report.figures.items()} == {
        "mine_picture": "picture of the first test sample, by mine.",
        "gan_picture": "picture of the first test sample, by GAN.",
    }


def test_scores_with_fewer_counts_and_under_attack(data: Any) -> None:
    """The first five samples are attacked, across batches; what attacks may do is told."""
    conditions = Conditions((1.0, 0.5), {"random": attack()}, 5, told="one sigma")
    report, _ = scored(data, conditions, mine=Toy(1.5))
    scores = report.outcome.scores
    assert {c: len(by_method["mine"]["error"]) for c, by_method in scores.items()} == {
        FULL: 6,
        Condition(0.5): 6,
        Condition(1.0, "random"): 5,
    }
    assert report.facts["Attack"] == "one sigma"


def test_runs_that_cannot_be_compared(data: Any) -> None:
    """None, of different kinds, or attacked in a space that is not theirs."""
    with pytest.raises(UserError, match="runs is empty"):
        scored(data, Conditions())
    with pytest.raises(UserError, match=r"runs are of different tasks .*'b': 'Other'"):
        scored(data, Conditions(), a=Toy(1.0), b=Other(1.0))
    attacks = Conditions(attacks={"random": attack()})
    with pytest.raises(UserError, match="inputs of Toy are image"):
        scored(data, attacks, a=Toy(1.0, "image"))
    scored(data, Conditions(), a=Toy(1.0, "image"))


class Share:
    """A trained network that gives a share of the activity of the first mouse of the same shape."""

    def __init__(self, scans: ScanBatch, factor: float, model: HyperspectralForwardModel) -> None:
        self.scans, self.factor, self.model = scans, factor, model

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        same = (context.density[:, None] == self.scans.density[None]).flatten(2).all(2)
        return self.factor * self.scans.activity[same.float().argmax(1)]


def compared(data: Any, conditions: Conditions = Conditions(), **settings: Any) -> Any:  # noqa: B008
    calls = Calls()
    runs = settings.pop("runs", {})
    asked: dict[str, Any] = {
        "classical": {"osem": lambda model: Osem(model, 2, 2)},
        "tuning": {"osem": {"iterations": (1, 2), "postfilter_fwhm_mm": (0.0, 2.0)}},
        "noise_realisations": 2,
    }
    calls.protocol = ReconstructionProtocol(runs, data, conditions, **(asked | settings))
    return calls.protocol.evaluate(calls), calls


def test_reconstructions_from_tuning_to_bounds(
    data: Any, scans: ScanBatch, model32: HyperspectralForwardModel
) -> None:
    """Tuning at each level, then scans, noise and bounds in one go, and every result where it belongs."""
    network = Share(scans, 0.9, model32)
    report, calls = compared(data, Conditions((1.0, 0.5)), runs={"gan": network}, bound_scans=3)
    tuning = calls.asked["tuning classical methods"]
    assert tuning == [("tuned", (1.0, "osem")), ("tuned", (0.5, "osem"))]
    names = [call[0] for call in calls.asked["test scans, noise and bounds"]]
    assert names == ["outcome", "outcome", "noise", "noise", "bounds"]
    assert calls.asked["test scans, noise and bounds"][-1] == ("bounds", (range(0, 3),))
    assert report.outcome.methods == ("gan", "osem", "mean_image")
    assert set(report.outcome.scores) == {FULL, Condition(0.5)}
    assert len(report.outcome.truths) == 6
    assert torch.equal(report.outcome.truths, scans.activity)
    assert {name: [point.name for point in points] for name, points in report.noise.items()} == {
        "gan": [""],
        "osem": ["1", "2", "4"],
    }
    chosen = report.tunings[1.0]["osem"].settings["iterations"]
    assert [point.evaluated for point in report.noise["osem"]].index(True) == chosen - 1
    assert len(report.bounds.regions) == 3
    first = least_deviations(model32, Judge.of(model32), calls.protocol.batches.scans("test", [2]))
    torch.testing.assert_close(report.bounds.regions[2:], first.regions, equal_nan=True)
    assert report.scans is data.by_split["test"]


def test_a_control_is_joined_by_itself_sharpened(
    data: Any, scans: ScanBatch, model32: HyperspectralForwardModel
) -> None:
    """A row of its own at each count level, whose gain is that of the first validation scan, thinned as the
    level is; it keeps each map's activity, and other runs have none unless they are named."""
    runs = {"control": Share(scans, 0.5, model32), "gan": Share(scans, 0.9, model32)}
    settings = {"noise_realisations": 0, "bound_scans": 0, "tuning_scans": 1}
    report, calls = compared(data, Conditions((1.0, 0.5)), runs=runs, **settings)
    assert report.outcome.methods == ("control", "gan", "control_sharpened", "osem", "mean_image")
    images = report.outcome.predictions
    sums = (images[name].sum((2, 3, 4)) for name in ("control_sharpened", "control"))
    torch.testing.assert_close(*sums, rtol=1e-5, atol=0)
    case = ReconstructionCase.of(model32, calls.protocol.batches.scans("validation", [0]))
    seen = [(case.batch.projections, case.batch.activity, case.context)]
    for name in ("control", "gan"):
        wanted = Sharpened.matched(runs[name], seen).gain
        torch.testing.assert_close(calls.protocol.matched(1.0, name).gain, wanted)
    assert {"test/power_ratio/control_sharpened", "test/total_variation/gan"} <= report.texture.keys()
    report, _ = compared(data, runs=runs, sharpened=["gan"], **settings)
    assert report.outcome.methods == ("control", "gan", "gan_sharpened", "osem", "mean_image")
    with pytest.raises(UserError, match="runs has both control and control_sharpened"):
        compared(data, runs={**runs, "control_sharpened": runs["gan"]}, **settings)


def test_the_training_mean_is_that_of_the_training_scans(data: Any, scans: ScanBatch) -> None:
    """The last three, each of 1 Bq in all, in one batch or in two."""
    _, calls = compared(data, noise_realisations=0, bound_scans=0)
    shares = scans.activity / scans.activity.sum((1, 2, 3, 4), keepdim=True)
    mean = shares[3:].mean(0)
    torch.testing.assert_close(calls.protocol.mean_activity(), mean)
    data.batch_size = 2
    torch.testing.assert_close(calls.protocol.mean_activity(), mean)


def test_without_noise_bounds_and_runs(data: Any, model32: HyperspectralForwardModel) -> None:
    """OSEM and the training mean are compared, with the model of the data; there are no points and bounds."""
    report, calls = compared(data, Conditions(told="nothing"), noise_realisations=0, bound_scans=0)
    assert [call[0] for call in calls.asked["test scans, noise and bounds"]] == ["outcome", "outcome"]
    assert report.model is model32
    assert report.outcome.methods == ("osem", "mean_image")
    assert report.noise == {}
    assert report.bounds.regions.shape == (0, 2, len(LABELS))
    assert report.bounds.lesions.shape == (0, 2, 0)
    assert report.threat == "nothing"


def test_bounds_of_all_scans_are_kept(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default all six; a second evaluation reads them from beside the data set."""
    report, _ = compared(data, noise_realisations=0)
    assert len(report.bounds.lesions) == 6
    monkeypatch.setattr("hspi_learn.evaluation.protocols.least_deviations", None)
    again, _ = compared(data, noise_realisations=0)
    torch.testing.assert_close(again.bounds.lesions, report.bounds.lesions, equal_nan=True)


def test_tuning_takes_the_best_on_validation_scans(data: Any, model32: HyperspectralForwardModel) -> None:
    """The setting with the least median NRMSE of the first scans, tried one by one; also thinned."""
    _, calls = compared(data, noise_realisations=0, bound_scans=0, tuning_scans=1)
    protocol = calls.protocol
    for fraction in (1.0, 0.1):
        case = ReconstructionCase.of(model32, protocol.batches.scans("validation", [0])).thinned(fraction, 0)
        errors = {}
        for iterations in (1, 2):
            for width in (0.0, 2.0):
                osem = Osem(model32, iterations, 2, width)
                estimate = case.reconstructed(osem)
                errors[iterations, width] = float(scan_nrmse(estimate, case.batch.activity, case.mask))
        tuned = protocol.tuned(fraction, "osem")
        iterations, width = min(errors, key=lambda key: errors[key])
        assert tuned.settings == {"iterations": iterations, "postfilter_fwhm_mm": width}
        assert tuned.told == f"{iterations} iterations of 2 subsets, Gaussian filter of {width:g} mm FWHM"
        assert tuned.at_edge == (iterations == 2 or width == 2.0)


def test_what_makes_no_maps_is_refused(data: Any) -> None:
    with pytest.raises(UserError, match=r"runs\.mine is a Toy, which makes no activity maps"):
        compared(data, runs={"mine": Toy(1.0)})
    image: Any = SimpleNamespace(space="image")
    attacks = {"a": BoundedAttack(RandomPerturbation(1), image)}
    with pytest.raises(UserError, match="inputs of reconstructions are counts"):
        compared(data, Conditions(attacks=attacks))


def test_every_classical_method_has_a_row_at_its_own_settings(data: Any) -> None:
    """MAP beside OSEM, each tuned for each count level; settings by name in the numbers."""
    classical = {"osem": lambda model: Osem(model, 2, 2), "map_rdp": lambda model: MapRdp(model, 2, 2)}
    tuning = {"osem": {"iterations": (1, 2)}, "map_rdp": {"penalty": (0.1, 1.0)}}
    settings = {"classical": classical, "tuning": tuning, "noise_realisations": 0, "bound_scans": 0}
    report, calls = compared(data, Conditions((1.0, 0.5)), **settings)
    asked = [call[1] for call in calls.asked["tuning classical methods"]]
    assert asked == [(1.0, "osem"), (1.0, "map_rdp"), (0.5, "osem"), (0.5, "map_rdp")]
    assert report.outcome.methods == ("osem", "map_rdp", "mean_image")
    chosen = report.tunings[0.5]["map_rdp"].settings
    assert chosen == {"penalty": chosen["penalty"], "iterations": 2, "postfilter_fwhm_mm": 0.0}
    methods = calls.protocol.methods(report.tunings[0.5])
    assert methods["map_rdp"].penalty == chosen["penalty"] in (0.1, 1.0)
    assert methods["map_rdp"].told.startswith(f"penalty {chosen['penalty']:g}, 2 iterations of 2 subsets")


def test_a_method_that_learns_gets_training_scans_of_each_count_level(
    data: Any, model32: HyperspectralForwardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two of three, thinned like the test scans; the row is that of a regression made by hand.

    Its OSEM images are made once, by calls of their own, and found in files after that.
    """
    data.batch_size = 1

    def regression(model: HyperspectralForwardModel) -> KernelRidge:
        return KernelRidge(model, partial(Osem, subsets=2), (1, 2))

    tuning = {"kernel_ridge": {"width": (0.5, 2.0), "ridge": (0.01, 0.1)}}
    settings = {"classical": {"kernel_ridge": regression}, "tuning": tuning, "training_scans": 2}
    quick = {"noise_realisations": 0, "bound_scans": 0}
    report, calls = compared(data, Conditions((1.0, 0.5), seed=3), **settings, **quick)
    numbers = [range(0, 1), range(1, 2)]
    made = [("osem_images", (f, "kernel_ridge", n)) for f in (1.0, 0.5) for n in numbers]
    assert calls.asked["training scans"] == made
    assert report.outcome.methods == ("kernel_ridge", "mean_image")
    training, seen = collate(data.by_split["train"][:2]), collate(data.by_split["test"])
    for fraction in (1.0, 0.5):
        chosen = report.tunings[fraction]["kernel_ridge"]
        assert chosen.told.endswith("2 training scans")
        case = ReconstructionCase.of(model32, seen).thinned(fraction, 3)
        thinned = ReconstructionCase.of(model32, training).thinned(fraction, 3).batch
        by_hand = regression(model32).fitted([thinned]).with_settings(**chosen.settings)
        nrmse = scan_nrmse(case.reconstructed(by_hand), case.batch.activity, case.mask)
        found = report.outcome.scores[Condition(fraction)]["kernel_ridge"].nrmse.mean(1)
        torch.testing.assert_close(found, nrmse, rtol=1e-4, atol=0.0)
    monkeypatch.setattr(KernelRidge, "fitted", lambda self, scans, images: [images(s) for s in scans])
    monkeypatch.setattr(KernelRidge, "osem_images", None)
    again = ReconstructionProtocol({}, data, Conditions(), **settings)  # type: ignore[arg-type]
    assert again.learnt(1.0, "kernel_ridge")[1].shape[1] == 2  # type: ignore[index]


def test_classical_methods_are_checked_first(data: Any, model32: HyperspectralForwardModel) -> None:
    """One that has nothing to tune, settings of one that is not compared, and one name for two."""
    image = torch.ones(len(model32.groups.names), *model32.grid.shape)
    mean: Any = {"mean": lambda model: MeanImage(model, image)}
    with pytest.raises(UserError, match=r"classical\.mean is a MeanImage; it needs to be a Tunable"):
        compared(data, classical=mean, tuning={})
    with pytest.raises(UserError, match=r"tuning\.map is none of the classical methods \['osem'\]"):
        compared(data, tuning={"map": {"penalty": (0.1,)}})
    with pytest.raises(UserError, match=r"runs\.osem has the name of a classical method"):
        compared(data, runs={"osem": Osem(model32, 2, 2)})


def test_oracles_have_marked_rows_and_compete_with_none(data: Any, scans: ScanBatch) -> None:
    """Under every count level, unattacked; in tables, but in no difference, sentence or figure of methods.

    The organ oracle has the true means: no error of organs and tumours (1e-5), whatever the counts.
    """
    oracles = {"organ_oracle": OrganOracle, "regional_ml": RegionalMl}
    attacks = {"random": attack()}
    settings = {"oracles": oracles, "noise_realisations": 0, "bound_scans": 0}
    report, _ = compared(data, Conditions((1.0, 0.5), attacks), **settings)
    outcome = report.outcome
    assert outcome.methods == ("osem", "mean_image", "organ_oracle", "regional_ml")
    assert outcome.oracles == ("organ_oracle", "regional_ml")
    assert outcome.ranked == outcome.methods
    assert outcome.competing == ("osem", "mean_image")
    assert set(outcome.scores[Condition(0.5)]) == set(outcome.methods)
    assert set(outcome.scores[Condition(1.0, "random")]) == {"osem"}
    numbers = summary(outcome, ("ac225", "bi213"), LABELS)
    for figure in ("tumour_error", "organ_error", "tumour_error_at_0.5", "organ_error_at_0.5"):
        assert numbers[f"test/{figure}/organ_oracle/bi213"] == pytest.approx(0, abs=1e-5)
    assert 0 < numbers["test/organ_error/regional_ml/ac225"] < 0.2
    assert not [name for name in numbers if "_difference" in name and ("oracle" in name or "_ml" in name)]
    first = [row[0] for row in headline_table(outcome, numbers, ("ac225", "bi213")).rows[::2]]
    assert first == ["OSEM", "Training mean", "True organ means (oracle)", "Regional ML (oracle)"]
    assert "Regional ML (oracle)" in counts_table(outcome).columns
    assert not [told for told in findings(outcome, numbers, ("nrmse",)) if "oracle" in told or "ML" in told]
    model = report.model
    figures = EvaluationFigures(
        outcome, model.grid, model.groups.names, LABELS, None, (60, 500), report.bounds
    )
    assert figures.compared == ["osem"]
    assert set(figures.concentrations(0, 0)[0]) == {"truth", "osem"}


def test_an_oracle_needs_a_name_of_its_own(data: Any) -> None:
    """Neither that of a classical method nor of the training mean."""
    for name in ("osem", "mean_image"):
        with pytest.raises(UserError, match=rf"oracles\.{name} has the name of another method"):
            compared(data, oracles={name: OrganOracle})
