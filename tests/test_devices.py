"""Where tensors lie and how precisely counts are computed: what moves, and what autocast leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from contracts.device_contract import DeviceContract, left_behind
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from referees.small_systems import GRID, small_scene, small_system
from torch import Tensor, nn
from torchmetrics import Metric

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import EnergyWindows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from data_gen.projector import RayProjector, RaySampling
from data_gen.scatter import Leakage
from hspi_learn.classical import KernelRidge, MapAnatomical, MeanImage, Osem
from hspi_learn.commands.composing import config_folder
from hspi_learn.commands.train import train
from hspi_learn.configs.build import build
from hspi_learn.losses import (
    HingeGame,
    LeastSquaresGame,
    RelativisticGame,
    WassersteinGame,
    count_mismatch,
    dice_cross_entropy,
    multi_scale_l1,
    poisson_deviance,
    relative_error,
)
from hspi_learn.metrics import ContrastToNoise, Nrmse, RegionalBias
from hspi_learn.networks import (
    CorrectionUNet,
    MultiScaleCritic,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    SegmentationUNet,
)
from hspi_learn.reconstructor import ScanBatch, scan_context
from hspi_learn.tasks import BackProjection

FEW = RaySampling(rays=4, plate_steps=2)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagingSystem]:
    with small_system(tmp_path_factory.mktemp("matrices")) as system:
        yield system


@pytest.fixture(scope="module")
def model(system: ImagingSystem) -> HyperspectralForwardModel:
    """The default model, used both ways, on bins and at events."""
    return used(system.forward_model())


def used(model: HyperspectralForwardModel) -> HyperspectralForwardModel:
    activity, density = small_scene(len(model.groups.names))
    state = model.attenuation(density)
    model.back_project(model.project(activity, state), state)
    return model


def scans_of(model: HyperspectralForwardModel) -> ScanBatch:
    """Two scans without noise."""
    activity, density = small_scene(len(model.groups.names))
    duration = torch.tensor([100.0, 200.0])
    counts = model.expected_counts(activity, model.attenuation(density), duration)
    return ScanBatch(counts, duration, density, activity, density.long(), torch.arange(2))


def reconstructed(method: Any) -> Any:
    """A method that was used before."""
    scans = scans_of(method.model)
    method.reconstruct(scans.projections, scan_context(method.model, scans.density, scans.duration_s))
    return method


class TestModel(DeviceContract):
    """The model with matrices and all terms, and the models that share its parts."""

    @pytest.fixture(
        autouse=True,
        params=[
            lambda model: model,
            lambda model: used(model.with_energy_bins(EnergyWindows([60, 150, 300]))),
            lambda model: used(model.primary),
            lambda model: used(model.subset(torch.tensor([5, 3, 60]))),
            lambda model: used(model.subset(slice(1, None, 3))),
        ],
        ids=["whole", "windows", "primary", "few pixels", "every third pixel"],
    )
    def _made(self, request: pytest.FixtureRequest, model: HyperspectralForwardModel) -> None:
        self.module = lambda: copy.deepcopy(request.param(model))


class TestRayProjector(DeviceContract):
    @pytest.fixture(autouse=True, params=["whole", "subset", "leakage"])
    def _made(self, request: pytest.FixtureRequest, system: ImagingSystem) -> None:
        factory = partial(RayProjector, sampling=FEW)
        energies = torch.tensor([82.0, 440.0], dtype=torch.float64)
        activity, density = small_scene(1)

        def module() -> nn.Module:
            if request.param == "leakage":
                term = Leakage(system.camera, GRID, energies, projector=factory)
                term.adjoint(term.forward(activity, term.state(density)), term.state(density))
                return term
            projector = factory(system.camera, GRID, energies)
            projector = projector if request.param == "whole" else projector.subset(torch.arange(9))
            projector.forward(activity, projector.attenuation(density))
            return projector

        self.module = module


class TestMethods(DeviceContract):
    """Classical methods, after a reconstruction that fills what they keep."""

    @pytest.fixture(
        autouse=True,
        params=[
            partial(Osem, iterations=1, subsets=2, postfilter_fwhm_mm=5.0),
            partial(Osem, iterations=1, subsets=1),
            BackProjection,
            partial(MapAnatomical, iterations=1, subsets=2),
            lambda model: MeanImage.of(model, [scans_of(model)]),
            lambda model: KernelRidge(model, partial(Osem, subsets=2), (1,)).fitted([scans_of(model)]),
        ],
        ids=["osem", "mlem", "back-projection", "anatomical", "mean image", "kernel ridge"],
    )
    def _made(self, request: pytest.FixtureRequest, model: HyperspectralForwardModel) -> None:
        self.module = lambda: reconstructed(copy.deepcopy(request.param(model)))


class TestTask(DeviceContract):
    """The task of the shipped config, after it has made and kept physics inputs."""

    @pytest.fixture(autouse=True)
    def _made(self, system: ImagingSystem) -> None:
        small = ["task.generator.channels=[4,8]", "task.generator.strides=[1]", "task.initial.subsets=2"]

        def module() -> nn.Module:
            with initialize_config_dir(str(config_folder()), version_base="1.3"):
                config = compose("train", overrides=["data.folder=none", *small])
            task = reconstructed(build(config.task, key="task", system=system))
            scans = scans_of(task.model)
            task.scores(task.predict_batch(scans), scans)
            return task  # type: ignore[no-any-return]

        self.module = module


class TestNetworksAndMetrics(DeviceContract):
    @pytest.fixture(
        autouse=True,
        params=[
            partial(CorrectionUNet, 2, channels=(4, 8), strides=(1,), residual_units=1),
            partial(PatchDiscriminator, 2, channels=4, layers=1),
            partial(MultiScaleDiscriminator, 2, channels=4),
            partial(SegmentationUNet, 2, 3, channels=(4, 8), strides=(1,), residual_units=1),
            partial(MultiScaleCritic, 2, 3, channels=4, layers=1),
            lambda: updated(Nrmse(), torch.ones(2, 1, 4, 4, 4), torch.ones(2, 1, 4, 4, 4)),
            lambda: updated(ContrastToNoise(), torch.rand(1, 1, 4, 4, 4), *halves()),
            lambda: updated(RegionalBias(2), *[torch.ones(1, 1, 4, 4, 4)] * 2, halves()[0][:, 0].long()),
        ],
        ids=[
            "generator",
            "discriminator",
            "multi-scale",
            "segmenter",
            "critic",
            "nrmse",
            "contrast",
            "regional bias",
        ],
    )
    def _made(self, request: pytest.FixtureRequest) -> None:
        self.module = request.param


def updated(metric: Metric, *batch: Tensor) -> Metric:
    metric.update(*batch)
    return metric


def halves() -> tuple[Tensor, Tensor]:
    """The lower and the upper half of 4x4x4 voxels."""
    lower = torch.arange(4)[:, None, None].expand(1, 1, 4, 4, 4) < 2
    return lower, ~lower


@dataclass
class Held:
    """A tensor out of the sight of ``Module.to``."""

    tensor: Tensor


class Pair(NamedTuple):
    one: Tensor
    other: Tensor


@pytest.mark.parametrize(
    ("hide", "path"),
    [
        (lambda tensor: tensor, ".hidden"),
        (lambda tensor: Held(tensor), ".hidden.tensor"),
        (lambda tensor: [0, {"a": tensor}], ".hidden[1]['a']"),
        (lambda tensor: Pair(torch.empty(0, device="meta"), tensor), ".hidden[1]"),
        (lambda tensor: partial(torch.add, tensor), ".hidden(arguments)[0]"),
        (lambda tensor: lambda: tensor, ".hidden(closure)"),
    ],
    ids=["attribute", "dataclass", "list of dict", "named tuple", "partial", "closure"],
)
def test_a_hidden_tensor_is_found(hide: Callable[[Tensor], Any], path: str) -> None:
    """A tensor planted where ``Module.to`` does not look is named."""
    module = nn.Linear(2, 2)
    module.hidden = hide(torch.zeros(2))
    assert left_behind(module.to("meta"), "meta") == [path]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_are_the_same_under_autocast(model: HyperspectralForwardModel, dtype: torch.dtype) -> None:
    """Forward, transposed, summed, at events and by OSEM: float32, and the very same bits."""
    activity, density = small_scene(len(model.groups.names))
    pixel, energy = torch.tensor([3, 40, 40]), torch.tensor([2, 11, 3])
    osem = Osem(model, iterations=1, subsets=2, postfilter_fwhm_mm=5.0)

    def computed() -> list[Tensor]:
        state = model.attenuation(density)
        counts = model.A(activity, density)
        one = state[:1]
        return [
            counts,
            model.A_adjoint(counts, density),
            model.expected_counts(activity, state, torch.tensor([100.0, 200.0])),
            model.sensitivity(state),
            model.spectrum(activity, state),
            model.project_at(activity[:1], one, pixel, energy),
            model.back_project_at(torch.ones(3), one, pixel, energy),
            osem.reconstruct(counts, scan_context(model, density, torch.ones(2))),
        ]

    plain = computed()
    with torch.autocast("cpu", dtype):
        cast = computed()
    for one, other in zip(plain, cast, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.equal(one, other)


def test_half_precision_images_give_float32_counts(model: HyperspectralForwardModel) -> None:
    """What a network hands on in bfloat16 is projected as the float32 image of the same numbers."""
    activity, density = small_scene(len(model.groups.names))
    half = activity.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        counts = model.A(half, density)
    assert torch.equal(counts, model.A(half.float(), density))


def test_gradients_are_the_same_under_autocast(model: HyperspectralForwardModel) -> None:
    """A sparse product and its gradient, both taken inside of autocast, have the bits of those outside."""
    matrix = model.projector.matrices[0][0]  # type: ignore[attr-defined]
    dense = torch.rand(matrix.columns, 3, generator=torch.Generator().manual_seed(1))

    def gradient() -> Tensor:
        x = dense.clone().requires_grad_()
        matrix.times(x).square().sum().backward()
        assert x.grad is not None
        return x.grad

    plain = gradient()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gradient(), plain)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: poisson_deviance(a, b.round()),
        lambda a, b: count_mismatch(a, b),
        lambda a, b: relative_error(a[..., None, None], b[..., None, None], torch.ones(2, 1, 5, 1, 1)),
        lambda a, b: LeastSquaresGame().discriminator(a, b),
        lambda a, _: HingeGame().generator(None, a),
        lambda a, b: WassersteinGame().discriminator(a, b),
        lambda a, b: RelativisticGame().generator(b, a),
        lambda a, b: dice_cross_entropy(*((x / 16)[..., None, None] for x in (a, b))),
        lambda a, b: multi_scale_l1([a], [b]),
    ],
    ids=[
        "deviance",
        "mismatch",
        "relative error",
        "lsgan",
        "hinge",
        "wgan",
        "relativistic",
        "dice",
        "multi-scale",
    ],
)
def test_losses_are_float32_under_autocast(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Also of what comes in half precision: that of the same numbers in float32."""
    a, b = (10 * torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    half = a.bfloat16()
    plain = loss(half.float(), b)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(half, b)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_events_are_those_of_the_generator(model: HyperspectralForwardModel) -> None:
    """Events lie on the device of the model and move with all their columns."""
    activity, density = small_scene(len(model.groups.names))
    generator = torch.Generator().manual_seed(1)
    events = model.sample_events(activity, density, (Frame(0.0, 1.0),), generator)[0]
    moved = events.to("meta")
    assert {t.device.type for t in (moved.pixel, moved.energy_kev, moved.time_s)} == {"meta"}
    assert len(moved) == len(events) > 0


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_card_that_is_not_there_is_refused(
    accelerator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence that names key and value, before a run folder is made."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = tmp_path / "run"
    config = OmegaConf.create({"trainer": {"accelerator": accelerator}, "run_dir": str(run)})
    with pytest.raises(UserError, match=f"trainer.accelerator is '{accelerator}'.*trainer=default"):
        train(config)
    assert not run.exists()
