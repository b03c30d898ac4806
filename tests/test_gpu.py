"""The whole path on a CUDA device against the CPU: counts, transposes, events, reconstructions, attacks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from contracts.device_contract import left_behind
from referees.small_systems import GRID, small_scene, small_system
from torch import Tensor

from data_gen.core.events import EventList, Frame
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from data_gen.projector import RayProjector, RaySampling
from data_gen.projector.leak import leak_caster
from hspi_learn.attacks import PoissonBall, ProjectedGradient, RandomPerturbation
from hspi_learn.classical import Osem
from hspi_learn.evaluation import BoundedAttack, Condition, Conditions, Judge, ReconstructionStudy
from hspi_learn.evaluation.study import FULL
from hspi_learn.metrics import scan_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagingSystem]:
    with small_system(tmp_path_factory.mktemp("matrices")) as system:
        yield system


@pytest.fixture(scope="module")
def cpu(system: ImagingSystem) -> HyperspectralForwardModel:
    return system.forward_model()


@pytest.fixture(scope="module")
def gpu(cpu: HyperspectralForwardModel) -> HyperspectralForwardModel:
    return copy.deepcopy(cpu).cuda()


@pytest.fixture(scope="module")
def scene(cpu: HyperspectralForwardModel) -> tuple[Tensor, Tensor]:
    return small_scene(len(cpu.groups.names))


def assert_equal(on_gpu: Tensor, on_cpu: Tensor, share: float = 1e-4) -> None:
    """Equal to a share of the highest value, and where they are told to lie."""
    assert on_gpu.is_cuda
    assert not on_cpu.is_cuda
    assert on_gpu.dtype == on_cpu.dtype
    highest = float(on_cpu.detach().abs().max())
    assert highest > 0
    torch.testing.assert_close(on_gpu.detach().cpu(), on_cpu.detach(), rtol=0, atol=share * highest)


def context_of(model: HyperspectralForwardModel, density: Tensor) -> ScanContext:
    device = model.recording.live.device
    return scan_context(model, density.to(device), torch.tensor([100.0, 200.0], device=device))


def counts_of(model: HyperspectralForwardModel, scene: tuple[Tensor, Tensor]) -> Tensor:
    """Poisson counts of two scans, the same on any device."""
    activity, density = scene
    expected = model.expected_counts(activity, model.attenuation(density), torch.tensor([100.0, 200.0]))
    return torch.poisson(expected, generator=torch.Generator().manual_seed(5))


def test_nothing_is_left_behind(gpu: HyperspectralForwardModel) -> None:
    assert left_behind(gpu, "cuda") == []


def test_the_transpose_on_the_card(gpu: HyperspectralForwardModel, scene: tuple[Tensor, Tensor]) -> None:
    """<A x, y> = <x, A^T y> for signed x and y (1e-5 of |A x| |y|, float32)."""
    state = gpu.attenuation(scene[1].cuda())
    x = torch.randn(scene[0].shape, generator=torch.Generator().manual_seed(1)).cuda()
    seen = gpu.project(x, state)
    y = torch.randn(seen.shape, generator=torch.Generator().manual_seed(2)).cuda()
    gap = (seen.double() * y.double()).sum() - (gpu.back_project(y, state).double() * x.double()).sum()
    assert float(gap.abs() / (seen.double().norm() * y.double().norm())) < 1e-5


def _forward(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    return model.A(activity, density)


def _transposed(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    return model.A_adjoint(model.A(activity, density), density)


def _sensitivity(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    return model.sensitivity(model.attenuation(density))


def _spectrum(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    return model.spectrum(activity, model.attenuation(density))


def _subset(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    return model.subset(torch.tensor([5, 3, 60])).A(activity, density)


def _events(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    state = model.attenuation(density[:1])
    pixel, energy = (torch.tensor(n, device=density.device) for n in ([3, 40, 40], [2, 11, 3]))
    return model.project_at(activity[:1], state, pixel, energy)


def _back_from_events(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    state = model.attenuation(density[:1])
    pixel, energy = (torch.tensor(n, device=density.device) for n in ([3, 40, 40], [2, 11, 3]))
    return model.back_project_at(torch.ones(3, device=density.device), state, pixel, energy)


def _gradient(model: HyperspectralForwardModel, activity: Tensor, density: Tensor) -> Tensor:
    """Of a sum of squares, in activity and density."""
    given = activity.clone().requires_grad_(), density.clone().requires_grad_()
    (model.A(*given) ** 2).sum().backward()
    parts = [part.grad / part.grad.abs().max() for part in given if part.grad is not None]
    assert len(parts) == 2
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize(
    ("computed", "share"),
    [
        (_forward, 1e-4),
        (_transposed, 1e-4),
        (_sensitivity, 1e-4),
        (_spectrum, 1e-4),
        (_subset, 1e-4),
        (_events, 1e-4),
        (_back_from_events, 1e-4),
        (_gradient, 1e-3),
    ],
)
def test_the_model_is_that_of_the_cpu(
    cpu: HyperspectralForwardModel,
    gpu: HyperspectralForwardModel,
    scene: tuple[Tensor, Tensor],
    computed: Callable[[HyperspectralForwardModel, Tensor, Tensor], Tensor],
    share: float,
) -> None:
    """To 1e-4 of the peak; gradients, which are sums of more, to 1e-3."""
    assert_equal(computed(gpu, *(part.cuda() for part in scene)), computed(cpu, *scene), share)


@pytest.mark.parametrize("leaks", [False, True])
def test_traced_rays_are_those_of_the_cpu(system: ImagingSystem, leaks: bool) -> None:
    """The ray projector and its transpose, through apertures and through plate and septa."""
    energies = torch.tensor([82.0, 440.0], dtype=torch.float64)
    factory = partial(RayProjector, sampling=RaySampling(rays=8, plate_steps=4))
    caster = {"caster": leak_caster(GRID)} if leaks else {}
    one, other = (factory(system.camera, GRID, energies, **caster) for _ in range(2))
    other = other.cuda()
    activity, density = small_scene(1)
    kept, on_card = one.attenuation(density), other.attenuation(density.cuda())
    seen = one.forward(activity, kept)
    assert_equal(other.forward(activity.cuda(), on_card), seen)
    assert_equal(other.adjoint(seen.cuda(), on_card), one.adjoint(seen, kept))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_stay_float32_under_autocast(
    gpu: HyperspectralForwardModel, scene: tuple[Tensor, Tensor], dtype: torch.dtype
) -> None:
    """To 1e-5 of the peak, as sums on a card come in any order."""
    activity, density = (part.cuda() for part in scene)
    plain = gpu.A(activity, density)
    with torch.autocast("cuda", dtype):
        cast = gpu.A(activity, density)
        back = gpu.A_adjoint(cast, density)
    assert cast.dtype == back.dtype == torch.float32
    torch.testing.assert_close(cast, plain, rtol=0, atol=1e-5 * float(plain.max()))


def test_events_are_drawn_by_any_generator(
    gpu: HyperspectralForwardModel, cpu: HyperspectralForwardModel, scene: tuple[Tensor, Tensor]
) -> None:
    """A generator of the CPU gives, to 5 sigma of Poisson, the number that is expected, and so does one of
    the card; events lie on the card."""
    frames = (Frame(0.0, 5.0),)
    state = cpu.attenuation(scene[1])
    expected = cpu.expected_counts(scene[0], state, 5.0).sum(dim=(1, 2))
    for generator in (torch.Generator().manual_seed(1), torch.Generator("cuda").manual_seed(1)):
        drawn = gpu.sample_events(*(part.cuda() for part in scene), frames, generator)
        for events, mean in zip(drawn, expected.tolist(), strict=True):
            assert events.pixel.is_cuda
            assert events.energy_kev.is_cuda
            assert abs(len(events) - mean) < 5 * mean**0.5
            histogram = events.histogram(gpu.pixels, gpu.energy_bins)
            assert float(histogram.sum()) == len(events)


def test_osem_is_that_of_the_cpu(
    cpu: HyperspectralForwardModel, gpu: HyperspectralForwardModel, scene: tuple[Tensor, Tensor]
) -> None:
    """Two iterations of two subsets with a filter, moved and made on the card; bins to 1e-3 of the peak."""
    counts, settings = counts_of(cpu, scene), {"iterations": 2, "subsets": 2, "postfilter_fwhm_mm": 5.0}
    osem = Osem(cpu, **settings)
    wanted = osem.reconstruct(counts, context_of(cpu, scene[1]))
    moved = copy.deepcopy(osem).cuda()
    assert left_behind(moved, "cuda") == []
    for method in (moved, Osem(gpu, **settings)):
        assert_equal(method.reconstruct(counts.cuda(), context_of(method.model, scene[1])), wanted, 1e-3)


def test_osem_at_events_is_that_of_the_cpu(
    cpu: HyperspectralForwardModel, gpu: HyperspectralForwardModel, scene: tuple[Tensor, Tensor]
) -> None:
    """The same events, given on the CPU; to 1e-3 of the peak."""
    generator = torch.Generator().manual_seed(3)
    events: EventList = cpu.sample_events(*(part[:1] for part in scene), (Frame(0.0, 100.0),), generator)[0]
    images = [
        Osem(model, iterations=2, subsets=2).reconstruct_events(
            events, context_of(model, scene[1]).part(slice(0, 1))
        )
        for model in (gpu, cpu)
    ]
    assert_equal(*images, share=1e-3)


@pytest.mark.parametrize("attack", [ProjectedGradient(steps=3, restarts=2), RandomPerturbation(draws=3)])
def test_attacks_run_on_the_card(
    gpu: HyperspectralForwardModel,
    cpu: HyperspectralForwardModel,
    scene: tuple[Tensor, Tensor],
    attack: ProjectedGradient | RandomPerturbation,
) -> None:
    """What is found is no better than the clean scan, and stays in the ball (1e-4)."""
    counts, context = counts_of(cpu, scene).cuda(), context_of(gpu, scene[1])
    truth = scene[0].cuda()
    expected = gpu.expected_counts(truth, context.attenuation, context.duration_s)
    osem = Osem(gpu, iterations=1, subsets=2)
    found = attack.attack(
        lambda n: scan_nrmse(osem.reconstruct(n, context), truth), counts, PoissonBall(2.0), expected, osem
    )
    assert found.worst.is_cuda
    assert bool((found.value >= found.clean_value).all())
    assert not bool(found.masked.any())
    moved = ((found.worst - counts) / (expected + 1e-3).sqrt()).flatten(1).norm(dim=1)
    assert bool((moved <= 2.0 * (1 + 1e-4)).all())


def test_evaluation_is_that_of_the_cpu(
    cpu: HyperspectralForwardModel, gpu: HyperspectralForwardModel, scene: tuple[Tensor, Tensor]
) -> None:
    """Scores of OSEM on two scans, with all and half of the counts and attacked: clean ones to 1e-2."""
    labels = (scene[1] > 1).long()
    duration = torch.tensor([100.0, 200.0])
    batch = ScanBatch(counts_of(cpu, scene), duration, scene[1], scene[0], labels, torch.arange(2))
    conditions = Conditions((1.0, 0.5), {"pgd": BoundedAttack(ProjectedGradient(steps=2), PoissonBall(2.0))})
    outcomes = []
    for model in (gpu, cpu):
        device = model.recording.live.device
        methods = {f: {"osem": Osem(model, iterations=1, subsets=2)} for f in (1.0, 0.5)}
        study = ReconstructionStudy(model, Judge.of(model), methods, conditions)
        outcomes.append(study.run([ScanBatch(*(part.to(device) for part in batch))]))
    on_card, on_cpu = outcomes
    assert_equal(on_card.scores[FULL]["osem"].nrmse, on_cpu.scores[FULL]["osem"].nrmse, 1e-2)
    assert_equal(on_card.predictions["osem"], on_cpu.predictions["osem"], 1e-3)
    for condition in (Condition(0.5), Condition(1.0, "pgd")):
        assert bool(on_card.scores[condition]["osem"].nrmse.isfinite().all())
