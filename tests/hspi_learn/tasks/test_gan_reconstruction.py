"""The GAN task on a small dense model: learning, its control, equivariance, gradients, resume."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator
from hspi_learn.reconstructor import ScanBatch, scan_context
from hspi_learn.tasks import Adversary, BackProjection, GanReconstruction
from hspi_learn.tasks.physics_input import PhysicsInputs

SCANS = 6


def system_of(model: HyperspectralForwardModel) -> Any:
    return SimpleNamespace(groups=model.groups, forward_model=lambda windows: model)


def task_of(
    model: HyperspectralForwardModel, weight: float = 0.01, from_share: float = 0.0, **changes: Any
) -> GanReconstruction:
    discriminator = partial(PatchDiscriminator, channels=4, layers=1)
    settings: dict[str, Any] = {
        "generator": partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
        "adversary": Adversary(discriminator, weight, from_share=from_share),
        "initial": partial(Osem, iterations=1, subsets=2),
        **changes,
    }
    return GanReconstruction(system_of(model), [60.0, 150.0, 300.0, 500.0], **settings)


@pytest.fixture(scope="module")
def scans(model32: HyperspectralForwardModel) -> ScanBatch:
    """Noisy scans of a hot spot in a warm body."""
    generator = torch.Generator().manual_seed(0)
    shape = model32.grid.shape
    density = torch.zeros(SCANS, *shape)
    density[:, 1:-1, 1:-1, 1:-1] = 1.0
    activity = density[:, None] * torch.rand(SCANS, 2, *shape, generator=generator)
    activity[torch.arange(SCANS), :, 1, 2, 1 + torch.arange(SCANS) % 4] = 20.0
    duration = torch.full((SCANS,), 200.0)
    expected = model32.expected_counts(activity, model32.attenuation(density), duration)
    counts = torch.poisson(expected, generator=generator)
    return ScanBatch(counts, duration, density, activity, density.long(), torch.arange(SCANS))


def trainer_of(folder: Path, steps: int) -> Trainer:
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
    )


def loaders(scans: ScanBatch, size: int = 2) -> tuple[DataLoader, DataLoader]:
    """Training and validation in batches of two, in order."""
    rows = [ScanBatch(*(column[i : i + size] for column in scans)) for i in range(0, SCANS, size)]
    return DataLoader(rows, batch_size=None), DataLoader(rows, batch_size=None)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
class TestTraining:
    def test_lowers_the_error(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Sixty steps on six scans at least halve the NRMSE of the physics image on those scans."""
        task = task_of(model32, optimizer=partial(torch.optim.AdamW, lr=1e-2))
        before = error_of(task, scans)
        trainer_of(tmp_path, 60).fit(task, *loaders(scans))
        assert error_of(task, scans) < 0.5 * before

    def test_counts_generator_updates(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """``max_steps`` means generator updates, though two optimisers step; validation is logged."""
        task, trainer = task_of(model32), trainer_of(tmp_path, 4)
        trainer.fit(task, *loaders(scans))
        assert int(task.updates) == trainer.global_step == 4
        assert 0 < float(trainer.callback_metrics["val/nrmse"]) < 2

    def test_control_differs_by_the_adversary_alone(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Same first weights; weight 0 never touches the discriminator; an adversary let in after the end
        of training leaves the generator bit for bit as the control's."""
        control, gan = task_of(model32, 0.0), task_of(model32, 0.1)
        late = task_of(model32, 0.1, 0.9)
        assert same(control.state_dict(), gan.state_dict())
        first = {name: value.clone() for name, value in control.discriminator.state_dict().items()}
        for task in (control, gan, late):
            torch.manual_seed(0)
            trainer_of(tmp_path, 4).fit(task, *loaders(scans))
        assert same(control.discriminator.state_dict(), first)
        assert not same(gan.discriminator.state_dict(), first)
        assert same(control.generator.state_dict(), late.generator.state_dict())
        assert not same(control.generator.state_dict(), gan.generator.state_dict())

    def test_weights_do_not_depend_on_global_chance(self, model32: HyperspectralForwardModel) -> None:
        """First weights follow from the task's seed, and building draws nothing from the global RNG."""
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = task_of(model32)
        assert torch.equal(state, torch.get_rng_state())
        torch.manual_seed(2)
        assert same(first.state_dict(), task_of(model32).state_dict())
        assert not same(first.state_dict(), task_of(model32, seed=1).state_dict())


class TestReconstruction:
    @pytest.mark.parametrize("initial", [BackProjection, partial(Osem, iterations=2, subsets=2)])
    def test_k_times_the_counts_give_k_times_the_activity(
        self, silent_model32: HyperspectralForwardModel, scans: ScanBatch, initial: Any
    ) -> None:
        """Scale equivariance to 1e-4 without background (report card of robust reconstruction: 2 %)."""
        task = trained_a_little(task_of(silent_model32, initial=initial))
        context = scan_context(silent_model32, scans.density, scans.duration_s)
        one, seven = (task.reconstruct(k * scans.projections, context) for k in (1, 7))
        torch.testing.assert_close(7 * one, seven, rtol=1e-4, atol=1e-4)

    def test_gradients_reach_the_counts(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        """An attack sees the whole chain: directional derivative against central differences, 2 %."""
        task = trained_a_little(task_of(model32))
        context = scan_context(model32, scans.density[:1], scans.duration_s[:1])
        counts = (scans.projections[:1] + 1.0).requires_grad_()
        (gradient,) = torch.autograd.grad(task.reconstruct(counts, context).square().sum(), counts)
        direction = gradient / gradient.norm()
        with torch.no_grad():
            up, down = (task.reconstruct(counts + s * direction, context).square().sum() for s in (0.2, -0.2))
        assert float((up - down) / 0.4) == pytest.approx(float(gradient.norm()), rel=0.02)

    def test_empty_scan_gives_an_empty_image(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """No counts, no activity, no NaN."""
        for initial in (BackProjection, Osem):
            task = trained_a_little(task_of(model32, initial=initial))
            context = scan_context(model32, scans.density[:1], scans.duration_s[:1])
            image = task.reconstruct(torch.zeros_like(scans.projections[:1]), context)
            assert float(image.abs().max()) < 1e-6 * float(scans.activity.max())

    def test_no_activity_outside_the_body(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        task = trained_a_little(task_of(model32))
        context = scan_context(model32, scans.density, scans.duration_s)
        image = task.reconstruct(scans.projections, context)
        assert bool((image >= 0).all())
        assert bool((image[~context.body.expand_as(image)] == 0).all())

    def test_back_projection_expects_the_measured_counts(
        self, silent_model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """Its image expects as many counts as were measured, to 1e-4."""
        model = silent_model32
        context = scan_context(model, scans.density, scans.duration_s)
        image = BackProjection(model).reconstruct(scans.projections, context)
        expected = model.expected_counts(image, context.attenuation, scans.duration_s).sum(dim=(1, 2))
        torch.testing.assert_close(expected, scans.projections.sum(dim=(1, 2)), rtol=1e-4, atol=0)


class TestPhysicsInputs:
    def test_kept_image_is_the_fresh_one_in_any_batch(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """Bit-identical whatever batch a scan comes in; other counts are another scan."""
        task = task_of(model32)
        alone = task.physics_inputs(ScanBatch(*(column[2:3] for column in scans)))
        together = task_of(model32).physics_inputs(scans)
        assert torch.equal(alone.initial[0], together.initial[2])
        task.physics_inputs(scans)
        assert len(task.physics_inputs.kept) == SCANS
        task.physics_inputs(scans._replace(projections=scans.projections + 1))
        assert len(task.physics_inputs.kept) == 2 * SCANS

    def test_kept_beside_the_data_set(
        self,
        model32: HyperspectralForwardModel,
        scans: ScanBatch,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Files made on all cores hold the bits of the uncached inputs, and another task computes nothing."""
        system = SimpleNamespace(to_dict=lambda: {"camera": "a"}, materials={})

        def inputs(iterations: int = 1, about: Any = system) -> PhysicsInputs:
            made = PhysicsInputs(about, model32, Osem(model32, iterations, subsets=2))
            made.keep_beside(tmp_path)
            return made

        each = [ScanBatch(*(column[i] for column in scans)) for i in range(SCANS)]
        inputs().prepare(each, "images")  # type: ignore[arg-type]
        assert len(list(tmp_path.rglob("*.safetensors"))) == SCANS
        fresh = task_of(model32).physics_inputs(scans)
        monkeypatch.setattr(PhysicsInputs, "_computed", lambda *_: pytest.fail("computed again"))
        kept = inputs()(scans)
        assert torch.equal(kept.initial, fresh.initial)
        assert torch.equal(kept.mask, fresh.mask)
        others = inputs(2), inputs(about=SimpleNamespace(to_dict=lambda: {"camera": "b"}, materials={}))
        for other in others:
            with pytest.raises(pytest.fail.Exception, match="computed again"):
                other(scans)

    def test_memory_is_bounded(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        inputs = task_of(model32).physics_inputs
        inputs.room = 3 * sum(part[0].nbytes for part in inputs(scans)) + 1
        inputs.kept.clear()
        inputs(scans)
        assert len(inputs.kept) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight": -1.0}, r"weight is -1"),
        ({"from_share": 2.0}, r"from_share is 2"),
        ({"losses": {}}, r"losses holds \[\], none of weight above 0"),
        ({"mirror_axes": ["w"]}, r"task\.mirror_axes holds 'w'"),
        ({"accumulate_batches": 0}, r"task\.accumulate_batches is 0"),
    ],
)
def test_wrong_settings_are_told(
    model32: HyperspectralForwardModel, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        task_of(model32, **changes)


def trained_a_little(task: GanReconstruction) -> GanReconstruction:
    """A generator whose head is no longer zero."""
    generator = torch.Generator().manual_seed(4)
    for parameter in task.generator.head.parameters():  # type: ignore[union-attr]
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return task.requires_grad_(False)


def error_of(task: GanReconstruction, scans: ScanBatch) -> float:
    from hspi_learn.metrics import scan_nrmse

    with torch.no_grad():
        context = scan_context(task.model, scans.density, scans.duration_s)
        estimate = task.reconstruct(scans.projections, context)
        return float(scan_nrmse(estimate, scans.activity, context.body).mean())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
