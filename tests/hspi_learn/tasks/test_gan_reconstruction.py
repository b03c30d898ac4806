"""The GAN task on a small dense model: learning, its control, equivariance, gradients, resume."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.data import ScanDataModule
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator
from hspi_learn.reconstructor import ScanBatch, scan_context
from hspi_learn.tasks import Adversary, BackProjection, GanReconstruction, reconstruction, warm_up_cosine
from hspi_learn.tasks.adversary import DISCRIMINATOR_OPTIMIZER
from hspi_learn.tasks.images import images_of
from hspi_learn.tasks.physics_input import PhysicsInput, PhysicsInputs
from hspi_learn.tasks.reconstruction import GENERATOR_OPTIMIZER, ReconstructionView

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

    def test_back_projection_against_the_dense_matrix(
        self, model64: HyperspectralForwardModel, density: Tensor
    ) -> None:
        """Truth: the matrix A of the forward model, a column a voxel, in numpy. Counts a second above
        background b, none below 0, go back by A^T, are divided by A^T 1 inside the body, and scaled so that A
        expects the counts a second above background; 1e-5 of the largest value (background is in float32)."""
        context = scan_context(model64, density[:1], torch.tensor([50.0], dtype=torch.float64))
        shape = (1, 2, *model64.grid.shape)

        def expected(activity: Tensor) -> Tensor:
            return model64.expected_counts(activity.reshape(shape), context.attenuation, 1.0).flatten()

        empty = torch.zeros(math.prod(shape), dtype=torch.float64)
        matrix = torch.autograd.functional.jacobian(expected, empty).numpy()
        background = expected(empty).numpy()
        assert (background > 0).all()
        counts = torch.poisson(
            torch.full((1, 48, 3), 2.0), generator=torch.Generator().manual_seed(0)
        ).double()
        rate = counts.numpy().flatten() / 50.0 - background
        assert (rate < 0).any()
        body = np.broadcast_to(context.body.numpy(), shape).flatten()
        image = body * (matrix.T @ np.maximum(rate, 0)) / matrix.sum(0)
        image *= rate.sum() / (matrix.sum(0) @ image)
        found = BackProjection(model64).reconstruct(counts, context).numpy().flatten()
        np.testing.assert_allclose(found, image, atol=1e-5 * image.max())

    def test_pictures_are_in_bq_per_ml(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Voxels of 2 mm hold 0.008 mL: 125 times the activity of the first scan, truth and estimate, a map a
        picture, which says its unit, its voxels and its scan."""
        asked: list[tuple[Any, ...]] = []

        def figure(volumes: dict[str, Any], spacing_mm: Any, unit: str, title: str) -> Figure:
            asked.append((volumes, spacing_mm, unit, title))
            return Figure()

        monkeypatch.setattr(reconstruction, "reconstruction_figure", figure)
        task = trained_a_little(task_of(model32))
        numbered = scans._replace(index=scans.index + 17)
        names = [name for name, _ in task.figures(numbered)]
        assert names == list(model32.groups.names)
        context = scan_context(model32, scans.density[:1], scans.duration_s[:1])
        estimate = task.reconstruct(scans.projections[:1], context)
        for number, (volumes, spacing_mm, unit, title) in enumerate(asked):
            assert (spacing_mm, unit) == (model32.grid.spacing_mm, "Bq/mL")
            assert title == f"{names[number]}, validation scan 17"
            np.testing.assert_allclose(volumes["truth"], 125 * scans.activity[0, number], rtol=1e-5)
            np.testing.assert_allclose(volumes["reconstruction"], 125 * estimate[0, number], rtol=1e-5)

    def test_an_empty_map_stays_empty(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        """Where the physics image of a map is 0 nothing is divided by it: what the network sees is 0, the
        truth is in Bq, and whatever it says becomes 0; the other map is divided by its mean over the body."""
        body = (scans.density > 0)[:, None]
        initial = 3.0 * body * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1)
        mask = body.expand_as(initial).clone()
        mask[..., 2] = False
        images = images_of(scans, PhysicsInput(initial, mask), ())
        assert images.scale.flatten(1).tolist() == [[3.0, 0.0]] * SCANS
        torch.testing.assert_close(images.initial, initial / 3)
        torch.testing.assert_close(images.truth, scans.activity / torch.tensor([3.0, 1]).reshape(2, 1, 1, 1))
        says = torch.ones_like(initial)
        assert images.activity(says).amax(dim=(0, 2, 3, 4)).tolist() == [3.0, 0.0]
        weight = torch.where(body, torch.where(mask, 1.0, 0.1), 0.0)
        torch.testing.assert_close(images.weight, weight)


class TestSettings:
    def test_defaults_are_those_of_the_config(self, model32: HyperspectralForwardModel) -> None:
        """Python and ``conf/task/gan_reconstruction.yaml`` train the same: losses, adversary
        (``conf/adversary/lsgan.yaml``), optimisers, schedule, mirrors, clipping."""
        conf = Path(__file__).parents[3] / "conf"
        written, chosen = (
            OmegaConf.to_container(OmegaConf.load(conf / name), resolve=False)
            for name in ("task/gan_reconstruction.yaml", "adversary/lsgan.yaml")
        )
        assert isinstance(written, dict)
        assert isinstance(chosen, dict)
        adversary = Adversary(partial(PatchDiscriminator, channels=4, layers=1))
        task = GanReconstruction(
            system_of(model32),
            [60.0, 150.0, 300.0, 500.0],
            partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
            adversary,
        )

        def plain(optimizer: Callable[..., Any]) -> dict[str, Any]:
            assert isinstance(optimizer, partial)
            settings = {k: list(v) if isinstance(v, tuple) else v for k, v in optimizer.keywords.items()}
            return {"_target_": f"torch.optim.{optimizer.func.__name__}", "_partial_": True, **settings}

        losses = {
            name: {
                "_target_": f"hspi_learn.losses.{type(loss).__name__}",
                "weight": loss.weight,
                "every": loss.every,
            }
            for name, loss in task.losses.terms().items()
        }
        assert losses == {name: {"every": 1, **node} for name, node in written["losses"].items()}
        assert all(loss.from_step == 0 for loss in task.losses.terms().values())
        assert {"adversary": "lsgan"}.items() <= {
            str(key).partition("@")[2]: value for one in written["defaults"] for key, value in one.items()
        }.items()
        others = chosen.keys() - {"_target_", "game", "optimizer"}
        assert {name: getattr(adversary, name) for name in others} == {name: chosen[name] for name in others}
        assert chosen["game"] == {"_target_": f"hspi_learn.losses.{type(adversary.game).__name__}"}
        assert plain(adversary.optimizer) == chosen["optimizer"]
        assert plain(task.optimizer_factory) == written["optimizer"]
        assert task.schedule_factory is warm_up_cosine
        rise = inspect.signature(warm_up_cosine).parameters["warm_up"].default
        assert rise == written["schedule"]["warm_up"]
        assert task.mirror_axes == tuple({"z": -3, "y": -2, "x": -1}[axis] for axis in written["mirror_axes"])
        assert task.largest_gradient == written["largest_gradient"]
        assert task.accumulate_batches == written["accumulate_batches"]

    def test_two_steps_of_the_default_optimisers_by_hand(self) -> None:
        """Adam (Kingma and Ba, ICLR 2015) and its decoupled decay (Loshchilov and Hutter, ICLR 2019) in plain
        numbers, of a weight of 1 with gradients 1 and -0.5; 1e-12. The eps of both is 1e-8."""
        for make, rate, first, second, decay in (
            (GENERATOR_OPTIMIZER, 2e-3, 0.9, 0.98, 1e-4),
            (DISCRIMINATOR_OPTIMIZER, 4e-4, 0.5, 0.9, 0.0),
        ):
            weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
            optimizer = make([weight])
            value, mean, square = 1.0, 0.0, 0.0
            for step, gradient in ((1, 1.0), (2, -0.5)):
                weight.grad = torch.tensor(gradient, dtype=torch.float64)
                optimizer.step()
                mean = first * mean + (1 - first) * gradient
                square = second * square + (1 - second) * gradient**2
                root = math.sqrt(square / (1 - second**step)) + 1e-8
                value = value * (1 - rate * decay) - rate * mean / (1 - first**step) / root
                assert weight.item() == pytest.approx(value, abs=1e-12)

    @pytest.mark.parametrize(
        ("accumulate", "limits", "total"),
        [
            (1, {"max_epochs": 2, "max_steps": -1, "estimated_stepping_batches": 14}, 14),
            (3, {"max_epochs": 2, "max_steps": -1, "estimated_stepping_batches": 14}, 6),
            (7, {"max_epochs": 2, "max_steps": -1, "estimated_stepping_batches": 14}, 2),
            (3, {"max_epochs": 2, "max_steps": 4, "estimated_stepping_batches": 4}, 4),
            (3, {"max_epochs": 2, "max_steps": 40, "estimated_stepping_batches": 14}, 6),
            (3, {"max_epochs": 2, "max_steps": 0, "estimated_stepping_batches": 0}, 0),
            (3, {"max_epochs": -1, "max_steps": 50, "estimated_stepping_batches": 50}, 50),
            (3, {"max_epochs": None, "max_steps": 50, "estimated_stepping_batches": 50}, 50),
        ],
    )
    def test_updates_of_a_training(
        self, model32: HyperspectralForwardModel, accumulate: int, limits: dict[str, Any], total: int
    ) -> None:
        """Epochs of seven batches: three batches an update make three updates an epoch, the last of one
        batch; ``max_steps`` are updates."""
        task = task_of(model32, accumulate_batches=accumulate)
        trainer: Any = SimpleNamespace(num_training_batches=7, **limits)
        task._trainer = trainer
        assert task.total_updates() == total

    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_a_training_needs_an_end(self, model32: HyperspectralForwardModel, accumulate: int) -> None:
        """Without limits the schedule, and the adversary's share of the training, would mean nothing."""
        task = task_of(model32, accumulate_batches=accumulate)
        endless: Any = SimpleNamespace(max_epochs=-1, max_steps=-1, estimated_stepping_batches=math.inf)
        task._trainer = endless
        with pytest.raises(UserError, match=r"max_steps and trainer\.max_epochs are both -1"):
            task.total_updates()

    @pytest.mark.parametrize(
        ("stage", "steps", "splits"),
        [
            ("fit", -1, ["train", "validation"]),
            ("fit", 5, ["train", "validation"]),
            ("fit", 4, ["validation"]),
            ("validate", -1, ["validation"]),
            ("test", -1, ["test"]),
            ("predict", -1, []),
        ],
    )
    def test_physics_images_are_made_of_what_will_be_seen(
        self, model32: HyperspectralForwardModel, tmp_path: Path, stage: str, steps: int, splits: list[str]
    ) -> None:
        """Ten training scans in batches of two: a training of four updates does not see them all."""

        class Data(ScanDataModule):
            def __init__(self) -> None:
                self.folder, self.batch_size, self.population = tmp_path, 2, None

            def windowed(self, split: str) -> Any:
                return [split] * 10

        made: list[Any] = []
        task = task_of(model32)
        inputs: Any = SimpleNamespace(
            keep_beside=lambda folder: made.append(folder), prepare=lambda *asked: made.append(asked)
        )
        task.physics_inputs = inputs
        trainer: Any = SimpleNamespace(datamodule=Data(), max_steps=steps)
        task._trainer = trainer
        task.setup(stage)
        assert made == [tmp_path, *(([split] * 10, f"physics images of {split} scans") for split in splits)]

    def test_losses_of_one_scan_share_its_projection(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """Projected once for the same scan of the same activity, anew for another of either; and it is the
        projection of that scan."""
        asked: list[Tensor] = []

        def expected_counts(activity: Tensor, attenuation: Any, duration_s: Tensor) -> Tensor:
            asked.append(activity)
            return model32.expected_counts(activity, attenuation, duration_s)

        counting: Any = SimpleNamespace(attenuation=model32.attenuation, expected_counts=expected_counts)
        view, other = ReconstructionView(counting, torch.ones(1), 0), 2 * scans.activity
        found = [
            view.expected_counts(activity, scans, scan)
            for activity, scan in ((scans.activity, 1), (scans.activity, 1), (other, 1), (other, 0))
        ]
        assert len(asked) == 3
        assert found[0] is found[1]
        whole = model32.expected_counts(other, model32.attenuation(scans.density), scans.duration_s)
        torch.testing.assert_close(torch.cat(found[3:1:-1]), whole[:2])


class _Scans(list[ScanBatch]):
    """Scans as a data module offers them."""

    def by_object(self) -> range:
        return range(len(self))


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

        each: Any = _Scans(ScanBatch(*(column[i] for column in scans)) for i in range(SCANS))
        inputs().prepare(each, "images")
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

    def test_what_never_comes_again_is_not_kept(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """The same bits, and scans of one object that follow each other share its attenuation."""
        kept, inputs, asked = task_of(model32).physics_inputs(scans), task_of(model32).physics_inputs, 0
        attenuation = model32.attenuation

        def counted(*density: Tensor) -> Any:
            nonlocal asked
            asked += 1
            return attenuation(*density)

        twice = ScanBatch(*(torch.cat((column[:1], column[:1], column[1:2])) for column in scans))
        twice.projections[1] *= 2
        twice.density[2] *= 0.9
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inputs.model, "attenuation", counted)
            once = inputs.once(twice)
        assert asked == 2
        assert not inputs.kept
        for mine, theirs in zip(once, kept, strict=True):
            assert torch.equal(mine[0], theirs[0])

    def test_memory_is_bounded(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        inputs = task_of(model32).physics_inputs
        inputs.room = 3 * sum(part[0].nbytes for part in inputs(scans))
        inputs.kept.clear()
        inputs(scans)
        assert len(inputs.kept) == 3
        assert inputs.room == 0

    @pytest.mark.parametrize(("megabytes", "count"), [(256, 4), (300, 3), (5000, 1)])
    def test_as_many_scans_at_once_as_memory_allows(self, megabytes: int, count: int) -> None:
        """Four states a scan in 4096 MiB; the state of an object of 256 MiB, half of them in its blocks,
        allows four scans, and one is always made. The tensors are meta: they have a size and no content."""
        part = torch.empty(megabytes * 2**19, dtype=torch.uint8, device="meta")
        model: Any = SimpleNamespace(
            recording=SimpleNamespace(live=torch.ones(1)),
            grid=SimpleNamespace(shape=(2, 2, 2)),
            attenuation=lambda density: SimpleNamespace(sharp=part, blocks=(part[::2], part[::2])),
        )
        system: Any = None
        assert PhysicsInputs(system, model, BackProjection.__new__(BackProjection))._side_by_side() == count


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight": -1.0}, r"weight is -1"),
        ({"weight": math.inf}, r"weight is inf"),
        ({"from_share": 2.0}, r"from_share is 2"),
        ({"from_share": -0.1}, r"from_share is -0\.1; it needs to be from 0 to 1"),
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
