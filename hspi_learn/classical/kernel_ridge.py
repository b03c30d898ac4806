"""Kernel ridge regression from short OSEM images and the density to activity, between whole scans.

From counts to activity in Bq per voxel. Source: Saunders, Gammerman and Vovk, Int. Conf. Machine Learning
(1998) 515.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.osem import Osem
from hspi_learn.classical.tunable import Tunable
from hspi_learn.reconstructor import ScanBatch, ScanContext, body_mean, nonzero, scan_body, scan_context

OsemFactory = Callable[[HyperspectralForwardModel], Osem]
ImagesOfScans = Callable[[ScanBatch], Tensor]
"""Scans to their OSEM images, as :meth:`KernelRidge.osem_images` gives them."""

SHORT_OSEM: OsemFactory = partial(Osem, subsets=6, tied_iterations=2)


class KernelRidge(Tunable):
    """A weighted sum of the training truths, weighted by how alike the scans are.

        x = s ( m + sum_i w_i (t_i - m) ),      w = (K + ridge I)^-1 k,      k_i = exp(-d_i^2 / (2 width^2))

    t_i is the truth of a training scan and m their mean, each over the scan's own scale; s is the scale of
    the scan at hand: the body mean of its last OSEM image, map by map, so that k times the counts give k
    times the activity. K is the kernel between training scans. Scans are compared by log(1 + OSEM image / s)
    after each of a few iterations, and by the density: d^2 is the mean over these images of their squared
    distance, each over its mean among pairs of training scans. A ``width`` of 1 is thus the usual distance,
    and ``ridge`` is a pure number as well: near 0 a training scan gives its own truth, at infinity every scan
    the training mean. Negative activity is set to 0, as is all outside the body.

    Such a method knows the anatomy of its training scans, and next to nothing of a tumour's place: it says
    how low an error over all voxels may be without any tumour seen.

    Args:
        model: the forward model.
        osem: makes the OSEM that scans are compared by.
        at_iterations: after these iterations of it.
        width: of the Gaussian kernel, over the usual distance of two training scans.
        ridge: added to the diagonal of the kernel between training scans.

    Raises:
        UserError: a setting outside its range.
    """

    name = "kernel_ridge"
    tunable = ("width", "ridge")
    shared = tunable

    weights: Tensor
    """Of each compared value, so that a squared distance is d^2, [value]."""
    examples: Tensor
    """What training scans are compared by, weighted, [scan, value]."""
    truths: Tensor
    """Of the training scans, each over its scale, [scan, map, z, y, x]."""

    def __init__(
        self,
        model: HyperspectralForwardModel,
        osem: OsemFactory = SHORT_OSEM,
        at_iterations: tuple[int, ...] = (1, 2, 4),
        width: float = 1.0,
        ridge: float = 0.01,
    ) -> None:
        super().__init__()
        if not at_iterations or min(at_iterations) < 1:
            told = f"{self.name}.at_iterations is {list(at_iterations)}"
            raise UserError(f"{told}; it needs one iteration or more, each from 1 on")
        self.at_iterations = tuple(sorted(set(at_iterations)))
        self.width, self.ridge = float(width), float(ridge)
        self._check()
        self.model, self.osem = model, osem(model)
        self.register_buffer("weights", torch.zeros(0))
        self.register_buffer("examples", torch.zeros(0, 0))
        self.register_buffer("truths", torch.zeros(0))

    def _check(self) -> None:
        for key in self.tunable:
            value = getattr(self, key)
            if not 0 < value < math.inf:
                raise UserError(f"{self.name}.{key} is {value}; it needs to be a number above 0")

    @property
    def settings(self) -> dict[str, Any]:
        """All that its OSEM images depend on besides the model, the counts and the object, as plain data."""
        return {"method": self.name, "osem": self.osem.settings, "at_iterations": list(self.at_iterations)}

    @property
    def told(self) -> str:
        """Its main settings in words."""
        return f"width {self.width:g}, ridge {self.ridge:g}, {len(self.examples)} training scans"

    def osem_images(self, projections: Tensor, context: ScanContext) -> Tensor:
        """[batch, image, map, z, y, x] in Bq per voxel, from counts [batch, pixel, window]."""
        return torch.stack(self.osem.reconstruct_at(self.at_iterations, projections, context), dim=1)

    def fitted(self, scans: Iterable[ScanBatch], images: ImagesOfScans | None = None) -> Self:
        """The same method, sharing its matrices, that has learnt from these training scans alone.

        Scans whose OSEM image is empty teach nothing.

        Args:
            scans: with their truths.
            images: gives the OSEM images of scans, such as kept ones; None: they are computed.

        Raises:
            UserError: there is no scan with counts.
        """
        learnt = [part for batch in scans for part in self._learnt(batch, images or self._images)]
        if not learnt:
            raise UserError(f"{self.name} got no training scans with counts; it needs at least one")
        compared = [torch.cat(parts) for parts in zip(*(one.compared for one, _ in learnt), strict=True)]
        weights = [_weight(part).expand(part.shape[1]) for part in compared]
        other = copy.copy(self)
        other._buffers = self._buffers.copy()  # else both would learn
        other.weights = torch.cat(weights) / math.sqrt(len(compared))
        other.examples = torch.cat(compared, dim=1) * other.weights
        other.truths = torch.cat([truth for _, truth in learnt])
        return other

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        settings = {"width": (self.width,), "ridge": (self.ridge,)}
        ((_, activity),) = self.reconstruct_at_all(settings, projections, context)
        return activity

    def reconstruct_at_all(
        self, settings: Mapping[str, Sequence[float]], projections: Tensor, context: ScanContext
    ) -> Iterator[tuple[dict[str, float], Tensor]]:
        """All combinations of width and ridge, the last varying fastest; one run of OSEM serves them."""
        if not len(self.examples):
            raise UserError(
                f"{self.name} has learnt from no training scans; it needs some, as hspi-evaluate gives it"
            )
        seen = Seen.of(self.osem_images(projections, context), context.density, context.body)
        values = torch.cat(seen.compared, dim=1) * self.weights
        apart, between = (_squared_distances(of, self.examples) for of in (values, self.examples))
        for chosen in itertools.product(*settings.values()):
            told = dict(zip(settings, chosen, strict=True))
            kernel, among = (_kernel(of, told["width"]) for of in (apart, between))
            ridge = told["ridge"] * torch.eye(len(among), dtype=among.dtype, device=among.device)
            share = torch.linalg.solve(among + ridge, kernel.T).T.to(values.dtype)
            yield told, seen.scale * context.body * self._mixed(share).clamp_min(0)

    def _mixed(self, share: Tensor) -> Tensor:
        """Truths over their scales mixed by shares [batch, scan], about their mean."""
        mean = self.truths.mean(0)
        return mean + torch.einsum("bn,nmzyx->bmzyx", share, self.truths - mean)

    @torch.no_grad()
    def _images(self, batch: ScanBatch) -> Tensor:
        context = scan_context(self.model, batch.density, batch.duration_s)
        return self.osem_images(batch.projections, context)

    @staticmethod
    def _learnt(batch: ScanBatch, images: ImagesOfScans) -> Iterator[tuple[Seen, Tensor]]:
        """What each scan is compared by, with its truth over its scale, both as a batch of one."""
        body = scan_body(batch.density)
        seen = Seen.of(images(batch), batch.density, body)
        for i in range(len(batch.density)):
            one = Seen(seen.scale[i : i + 1], tuple(part[i : i + 1] for part in seen.compared))
            if bool((one.scale > 0).all()):
                yield one, batch.activity[i : i + 1] / one.scale


class Seen(NamedTuple):
    """What scans are compared by."""

    scale: Tensor
    """Body mean of the last OSEM image, [batch, map, 1, 1, 1] in Bq per voxel."""
    compared: tuple[Tensor, ...]
    """Values of each image [batch, value], the density last."""

    @classmethod
    def of(cls, images: Tensor, density: Tensor, body: Tensor) -> Seen:
        """Of OSEM images [batch, image, map, z, y, x] and the density [batch, z, y, x]."""
        scale = body_mean(images[:, -1], body)
        levels = (images / nonzero(scale)[:, None]).log1p().flatten(2).unbind(1)
        return cls(scale, (*levels, density.flatten(1)))


def _squared_distances(values: Tensor, others: Tensor) -> Tensor:
    """Between rows of two tables, [row, other row], float64; 0 to the bit between equal ones."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(values, others, compute_mode=exact).double().square()


def _weight(values: Tensor) -> Tensor:
    """One over the root of the mean squared distance of two rows; 1 where they are all the same."""
    scans = len(values)
    mean = _squared_distances(values, values).sum() / max(scans * (scans - 1), 1)
    return nonzero(mean).rsqrt().to(values.dtype)


def _kernel(squared_distance: Tensor, width: float) -> Tensor:
    return torch.exp(-squared_distance / (2 * width**2))
