"""Any reconstruction method behind a trained denoiser of projections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Tunable
from hspi_learn.reconstructor import Reconstructor, ScanContext
from hspi_learn.tasks.denoising import Denoising


class Denoised(Tunable):
    """A method that is given the expected counts that a denoiser tells from those measured.

    Differentiable through both. Settings that may be tuned are the method's. Counts that were denoised are
    no longer Poisson distributed: a likelihood that the method maximises is then that of a fit, not of the
    measurement.

    Args:
        model: the forward model, of the windows that the denoiser was trained on.
        denoiser: a trained denoiser, such as ``{_target_: hspi_learn.configs.runs.load_task, run_dir: RUN}``.
        method: makes the method for the forward model, or is one that is trained.

    Raises:
        UserError: the denoiser is none, was trained on other windows or another camera, or the method
            reconstructs no activity.
    """

    name = "denoised"
    tunable: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        model: HyperspectralForwardModel,
        denoiser: Any,
        method: Callable[[HyperspectralForwardModel], Reconstructor] | Any,
    ) -> None:
        super().__init__()
        if not isinstance(denoiser, Denoising):
            raise UserError(f"denoiser is a {type(denoiser).__name__}; it needs the run of task=denoising")
        _check_same(denoiser, model)
        made = method if isinstance(method, Reconstructor) else method(model)
        if not isinstance(made, Reconstructor):
            raise UserError(f"method is a {type(made).__name__}; it needs one that reconstructs activity")
        self.model, self.denoiser, self.method = model, denoiser, made
        self._check()

    def _check(self) -> None:
        """Settings that may be tuned are the method's own, which has checked them."""
        if isinstance(self.method, Tunable):
            self.tunable, self.shared = self.method.tunable, self.method.shared  # type: ignore[misc]

    @property
    def told(self) -> str:
        """Its main settings in words."""
        own = self.method.told if isinstance(self.method, Tunable) else type(self.method).__name__
        return f"denoised projections, {own}"

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        return self.method.reconstruct(self._expected(projections), context)

    def reconstruct_at_all(
        self, settings: Mapping[str, Sequence[float]], projections: Tensor, context: ScanContext
    ) -> Iterator[tuple[dict[str, float], Tensor]]:
        """What the method gives at all combinations of its settings."""
        denoised = self._expected(projections)
        if isinstance(self.method, Tunable):
            yield from self.method.reconstruct_at_all(settings, denoised, context)
        else:
            yield {}, self.method.reconstruct(denoised, context)

    def _expected(self, projections: Tensor) -> Tensor:
        """Denoised counts, in the pixels that this model has live."""
        live = (self.model.recording.live > 0).to(projections)
        return self.denoiser.denoised(projections, live).to(projections)

    def with_settings(self, **settings: float) -> Self:
        """The same denoiser before the method at other settings.

        Raises:
            UserError: a name that is no setting of the method, or a value outside its range.
        """
        other = super().with_settings()
        if not isinstance(self.method, Tunable):
            if settings:
                raise UserError(
                    f"denoised.{next(iter(settings))} cannot be changed; the method has no settings"
                )
            return other
        other._modules = {**self._modules, "method": self.method.with_settings(**settings)}
        return other

    def __getattr__(self, key: str) -> Any:
        """Settings of the method, which tuning reads; all else as in any module."""
        found = self.__dict__.get("_modules", {}).get("method")
        if isinstance(found, Tunable) and key in found.tunable:
            return getattr(found, key)
        return super().__getattr__(key)


def _check_same(denoiser: Denoising, model: HyperspectralForwardModel) -> None:
    """Refuse a denoiser of other windows or another camera.

    Raises:
        UserError: it is.
    """
    edges = [denoiser.windows.boundaries_kev, tuple(model.energy_bins.edges_kev.tolist())]
    if edges[0] != edges[1]:
        raise UserError(
            f"the denoiser was trained on windows with edges {list(edges[0])} keV, and counts come in "
            f"{len(edges[1]) - 1} bins from {edges[1][0]:g} to {edges[1][-1]:g} keV; it needs its own"
        )
    mine, theirs = (getattr(of.camera, "fingerprint", None) for of in (model, denoiser.model))
    if mine != theirs or model.pixels != denoiser.model.pixels:
        raise UserError("the denoiser was trained for another camera than the method's; it needs the same")
