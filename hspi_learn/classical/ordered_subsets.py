"""What all methods share that update an image by subsets of pixels in turn, over all maps and energy windows.

From counts, or events, to activity in Bq per voxel.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from data_gen.core.autograd import linear, recomputed
from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.forward_model.block_terms import BlockTerms
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.nuclides import tied_groups
from hspi_learn.classical.postfilter import smoothed_in_body
from hspi_learn.classical.rows import HistogramRows, Rows, event_rows
from hspi_learn.classical.subsets import balanced_subsets
from hspi_learn.classical.tunable import Tunable
from hspi_learn.reconstructor import ScanContext, body_mean

LEAST_SENSITIVITY = 1e-4
"""Share of the maximum sensitivity below which a voxel is not updated by a subset, or held at 0 by all;
chosen, no source.
"""

HARDLY_SEEN = 0.1
"""Share of the maximum sensitivity under which the activity of a voxel is bounded; chosen, no source."""

TIE_BELOW_S = 7200.0
"""Half-life under which a daughter is tied to what feeds it, at first: Pb-211, Bi-213 and Bi-212 are."""

LEAST_START = 1e-3
"""Share of the mean of the body that a voxel of an image to go on from gets at least; chosen, no source."""

IMAGES_AN_UPDATE = 10
"""Images that the backward pass needs of an update, about."""
MOST_KEPT_BYTES = 2**29
"""Memory that the images of all updates may take; beyond it each iteration is computed again."""


Update = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Image, A_k^T (n / expected) and sensitivity of a subset k, to the next image; all [batch, map, z, y, x]."""


class OrderedSubsets(Tunable):
    """Iterations over subsets of pixels, each from the image, the subset's counts and what it expects.

    Expected counts are A x + B + b of a subset. A is what comes through apertures, B leakage and scatter:
    modelled anew from the image before each iteration, scaled with it in between, and not back-projected,
    since it says little of where it came from and costs as much.

    A subset of pixels without a count in a scan that has some leaves the image as it is: it is taken for off.
    Voxels whose sensitivity s is less than a tenth of the highest, s_max, would gather what no others
    explain, such as activity beyond the grid. After each update they are held to

        x <= m t / (t - s),    t = 0.1 s_max,

    m being the mean of all others in the body, weighted by sensitivity: hardly more than m where next to
    nothing is seen, and whatever the update says where s reaches t. The counts bound m, so that nothing blows
    up.

    In the first ``tied_iterations``, which are EM's, the map of a daughter that lives under two hours is that
    of the nuclide that feeds it, in equilibrium: the sum is well known long before the difference is.

    Starts from uniform activity in the body that explains the counts. Differentiable in the counts through
    all iterations: a few images are kept for each update, and where these are too many, each iteration is
    computed again in the backward pass.

    Args:
        model: the forward model, with the energy windows (or fine bins, for events) to reconstruct from.
        iterations: passes over all subsets.
        subsets: number of subsets.
        postfilter_fwhm_mm: Gaussian smoothing of the last image, within the body; 0 for none.
        tied_iterations: first iterations in which maps of short-lived daughters are held at equilibrium.

    Raises:
        UserError: a setting outside its range.
    """

    tunable: ClassVar[tuple[str, ...]] = ("iterations", "postfilter_fwhm_mm")
    shared = ("iterations", "postfilter_fwhm_mm")
    version: ClassVar[int]
    """Raised whenever the images change, so that kept ones are computed again."""

    def __init__(
        self,
        model: HyperspectralForwardModel,
        iterations: int,
        subsets: int,
        postfilter_fwhm_mm: float,
        tied_iterations: int,
    ) -> None:
        super().__init__()
        if not 1 <= subsets <= model.pixels:
            raise UserError(
                f"{self.name}.subsets is {subsets}; it needs to be from 1 to the {model.pixels} pixels"
            )
        if tied_iterations < 0:
            raise UserError(f"{self.name}.tied_iterations is {tied_iterations}; it needs to be 0 or more")
        self.iterations, self.postfilter_fwhm_mm = iterations, float(postfilter_fwhm_mm)
        self._check()
        self.tied_iterations = tied_iterations
        self.model = model
        chosen = balanced_subsets(model.camera, model.pixels, subsets)
        for index, pixels in enumerate(chosen):
            self.register_buffer(f"subset_{index}", pixels, persistent=False)
        primary = model.primary
        self.parts = nn.ModuleList([primary] if subsets == 1 else [primary.subset(s) for s in chosen])
        blocks = model.blocks
        self.blocks = nn.ModuleList([] if blocks is None else [blocks.subset(s) for s in chosen])
        self.register_buffer("ties", equilibrium_ties(model), persistent=False)
        self._last_seen: list[tuple[ObjectState, list[Tensor]]] = []

    ties: Tensor
    """Activity of each map over that of the map that it is tied to, [map, map]."""

    @property
    def subsets(self) -> list[Tensor]:
        """Pixels of each subset."""
        return [self.get_buffer(f"subset_{index}") for index in range(len(self.parts))]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert everything; what is kept of the last objects is of the old place."""
        self._last_seen.clear()
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def _check(self) -> None:
        """Refuse settings out of their range."""
        if self.iterations < 1:
            raise UserError(f"{self.name}.iterations is {self.iterations}; it needs to be 1 or more")
        if not (0 <= self.postfilter_fwhm_mm < math.inf):
            told = f"{self.name}.postfilter_fwhm_mm is {self.postfilter_fwhm_mm}"
            raise UserError(f"{told}; it needs 0 mm or more")

    @property
    def settings(self) -> dict[str, Any]:
        """All that its images depend on besides the model, the counts and the object, as plain data."""
        return {
            "method": self.name,
            "version": self.version,
            "iterations": self.iterations,
            "subsets": [subset.tolist() for subset in self.subsets],
            "postfilter_fwhm_mm": self.postfilter_fwhm_mm,
            "tied_iterations": self.tied_iterations,
        }

    @property
    def told(self) -> str:
        """Its main settings in words."""
        filtered = f"Gaussian filter of {self.postfilter_fwhm_mm:g} mm FWHM"
        return f"{self.iterations} iterations of {len(self.parts)} subsets, {filtered}"

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        return self.postfiltered(_last(self.iterates(projections, context, self.iterations)), context)

    def reconstruct_at(
        self, iterations: Sequence[int], projections: Tensor, context: ScanContext
    ) -> list[Tensor]:
        """What :meth:`reconstruct` gives at each of these numbers of iterations, in rising order."""
        images = enumerate(self.iterates(projections, context, max(iterations)), start=1)
        return [self.postfiltered(image, context) for done, image in images if done in iterations]

    def reconstruct_at_all(
        self, settings: Mapping[str, Sequence[float]], projections: Tensor, context: ScanContext
    ) -> Iterator[tuple[dict[str, float], Tensor]]:
        """All combinations of settings, the last varying fastest, each with what :meth:`reconstruct` gives.

        One reconstruction serves all iterations and filters, which are to be named last.

        Args:
            settings: candidates of each, in rising order; ``iterations`` and ``postfilter_fwhm_mm`` are
                among them.
            projections: counts [batch, pixel, window].
            context: of the scans.
        """
        *others, iterations, filters = settings.items()
        for values in itertools.product(*(candidates for _, candidates in others)):
            chosen = dict(zip((name for name, _ in others), values, strict=True))
            method = self.with_settings(**chosen)
            images = method.iterates(projections, context, int(iterations[1][-1]))
            for done, image in enumerate(images, start=1):
                for fwhm_mm in filters[1] if done in iterations[1] else ():
                    smooth = self.postfiltered(image, context, fwhm_mm)
                    yield {**chosen, iterations[0]: done, filters[0]: fwhm_mm}, smooth

    def reconstruct_events(self, events: EventList, context: ScanContext) -> Tensor:
        """Activity [1, map, z, y, x] in Bq per voxel from the events of one scan, on the model's energy bins.

        Differentiable in ``events.weight``.
        """
        return self.postfiltered(_last(self.event_iterates(events, context, self.iterations)), context)

    def iterates(self, projections: Tensor, context: ScanContext, iterations: int) -> Iterator[Tensor]:
        """The activity after each iteration, before smoothing."""
        rows = self.histogram_rows(projections)
        return self._images(rows, projections.sum(dim=(1, 2)), context, iterations)

    def continued(self, image: Tensor, projections: Tensor, context: ScanContext) -> Tensor:
        """The activity after all iterations from an image instead of a uniform one, before smoothing.

        Differentiable in the image and in the counts. No map is tied to another.

        Args:
            image: activity [batch, map, z, y, x] in Bq per voxel. Voxels that the camera sees get a
                thousandth of the mean of the body at least, since EM never leaves 0.
            projections: counts [batch, pixel, window].
            context: of the scans.
        """
        rows = self.histogram_rows(projections)
        scan = self._measured(rows, projections.sum(dim=(1, 2)), context)
        least = LEAST_START * body_mean(image, context.body)
        activity = scan.voxels.seen * torch.maximum(image, least)
        return _last(self._from(activity, scan, self.iterations, tied=None))

    def histogram_rows(self, projections: Tensor) -> list[HistogramRows]:
        """Counts [batch, pixel, window] by subset."""
        return [HistogramRows(m, blocks, projections[:, pixels]) for m, blocks, pixels in self._parts()]

    def event_iterates(self, events: EventList, context: ScanContext, iterations: int) -> Iterator[Tensor]:
        """The activity after each iteration over the events of one scan, before smoothing."""
        dtype, events = context.density.dtype, events.to(context.density.device)
        rows = [event_rows(m, blocks, pixels, events, dtype) for m, blocks, pixels in self._parts()]
        total = torch.stack([part.weight.sum() for part in rows]).sum().reshape(1)
        return self._images(rows, total, context, iterations)

    def postfiltered(self, activity: Tensor, context: ScanContext, fwhm_mm: float | None = None) -> Tensor:
        """The activity smoothed within the body, by this method's own FWHM unless told otherwise."""
        width = self.postfilter_fwhm_mm if fwhm_mm is None else fwhm_mm
        return smoothed_in_body(activity, context.body, self.model.grid, width)

    def _parts(self) -> Iterator[tuple[HyperspectralForwardModel, BlockTerms | None, Tensor]]:
        """The model of each subset, its leakage and scatter, and its pixels."""
        blocks: list[nn.Module | None] = [*self.blocks] or [None] * len(self.parts)
        for model, terms, pixels in zip(self.parts, blocks, self.subsets, strict=True):
            yield cast(HyperspectralForwardModel, model), cast(BlockTerms | None, terms), pixels

    @abstractmethod
    def _update(self, scan: MeasuredScan, done: int) -> Update:
        """The update by a subset after so many iterations."""

    def _tied_update(self, scan: MeasuredScan, together: Tensor) -> Update:
        """The update by a subset where maps are tied; ``together``: see :func:`em_update`."""
        return partial(em_update, voxels=scan.voxels, together=together)

    def _images(
        self, rows: Sequence[Rows], total: Tensor, context: ScanContext, iterations: int
    ) -> Iterator[Tensor]:
        """The activity after each iteration from a uniform image."""
        scan = self._measured(rows, total, context)
        tied = self._equilibrium(scan.voxels.sensitivity) if self.tied_iterations else None
        start = _uniform_start(scan.voxels, total, context.duration_s, tied and tied.weight)
        return self._from(start, scan, iterations, tied)

    def _measured(self, rows: Sequence[Rows], total: Tensor, context: ScanContext) -> MeasuredScan:
        """Scans with their sensitivities."""
        sensitivities = self._sensitivities(rows, context.attenuation)
        voxels = Voxels.of(torch.stack(sensitivities).sum(0), context.body)
        return MeasuredScan(rows, total, context, sensitivities, voxels)

    def _from(
        self, activity: Tensor, scan: MeasuredScan, iterations: int, tied: Equilibrium | None
    ) -> Iterator[Tensor]:
        """The activity after each iteration from this one."""
        many = IMAGES_AN_UPDATE * activity.nbytes * len(scan.rows) * iterations > MOST_KEPT_BYTES
        for done in range(iterations):
            if tied and done < self.tied_iterations:
                update = self._tied_update(scan, tied.together)
            else:
                update = self._update(scan, done)
            step = partial(self._iteration, scan=scan, update=update)
            activity = recomputed(step, activity, needed=many and activity.requires_grad)
            yield activity

    def _iteration(self, image: Tensor, scan: MeasuredScan, update: Update) -> Tensor:
        """One pass over all subsets."""
        blocks = self.model.blocks
        table = _table(blocks, image, scan.context.attenuation) if blocks else None
        before = _total(image)
        for part, sensitivity in zip(scan.rows, scan.sensitivities, strict=True):
            # What leaks and scatters grows with the image; held still, it would swing against it.
            now = None if table is None else table * (_total(image) / before)
            updated = update(image, part.back_projected_ratio(image, scan.context, now), sensitivity)
            off = (part.counts_of_scan() == 0) & (scan.total > 0)
            image = torch.where(off[:, None, None, None, None], image, updated)
        return image

    def _equilibrium(self, like: Tensor) -> Equilibrium:
        """How maps of daughters are tied, in the dtype and on the device of ``like``."""
        ties = self.ties.to(like)
        linked = (ties > 0).to(like)
        return Equilibrium(linked @ linked.T, ties.sum(1))

    def _sensitivities(self, rows: Sequence[Rows], state: ObjectState) -> list[Tensor]:
        """Sensitivity of each subset, [batch, map, z, y, x].

        The last ones are kept, since an attack and repeated noise ask for many images of the same objects.
        """
        if state.requires_grad:
            return [part.model.sensitivity(state) for part in rows]
        kept = next(iter(self._last_seen), None)
        if kept is None or kept[0] is not state:
            # What is kept in inference mode may be wanted for a gradient later.
            with torch.inference_mode(False), torch.no_grad():
                kept = state, [part.model.sensitivity(state) for part in rows]
            self._last_seen[:] = [kept]  # at once, since threads share a method
        return kept[1]


class Equilibrium(NamedTuple):
    """Maps of daughters that are tied to those of the nuclides that feed them."""

    together: Tensor
    """1 for maps that are tied to each other, [map, map]."""
    weight: Tensor
    """Activity of each map, [map]."""


class MeasuredScan(NamedTuple):
    """Scans of a batch with all that stays the same over iterations."""

    rows: Sequence[Rows]
    """Counts or events of each subset."""
    total: Tensor
    """Counts of each scan, [batch]."""
    context: ScanContext
    sensitivities: Sequence[Tensor]
    """Of each subset, [batch, map, z, y, x]."""
    voxels: Voxels


class Voxels(NamedTuple):
    """What updates need to know of the voxels besides a subset's own sensitivity."""

    sensitivity: Tensor
    """Of all subsets together, [batch, map, z, y, x]."""
    seen: Tensor
    """Voxels of the body that the camera sees at all, [batch, map, z, y, x], bool."""
    weight: Tensor
    """Weight of a voxel in the mean, by its sensitivity to all maps, [batch, 1, z, y, x]; 0 where it is
    hardly seen."""
    bound: Tensor
    """Most activity of a hardly seen voxel over the mean of the others, [batch, 1, z, y, x]."""

    @classmethod
    def of(cls, sensitivity: Tensor, body: Tensor) -> Voxels:
        """By the sensitivity of all subsets together and the body [batch, 1, z, y, x]."""
        seen = body & (sensitivity > LEAST_SENSITIVITY * _largest(sensitivity))
        of_all_maps = sensitivity.sum(dim=1, keepdim=True)
        least = HARDLY_SEEN * _largest(of_all_maps * body)
        well_seen = body & (of_all_maps >= least)
        weight = well_seen * of_all_maps
        tiny = torch.finfo(weight.dtype).tiny
        weight = weight / weight.sum((2, 3, 4), keepdim=True).clamp_min(tiny)
        lacking = torch.where(well_seen, 1.0, least - of_all_maps).clamp_min(1e-6 * least)
        return cls(sensitivity, seen, weight, least / lacking.clamp_min(tiny))

    def bounded(self, image: Tensor) -> Tensor:
        """The image with the activity of hardly seen voxels bounded."""
        mean = (image * self.weight).sum((2, 3, 4), keepdim=True)
        return torch.where(self.weight > 0, image, torch.minimum(image, mean * self.bound))


def equilibrium_ties(model: HyperspectralForwardModel) -> Tensor:
    """Activity of each map (row) per activity of the map that it follows (column), [map, map] float64.

    A daughter's map follows that of the nuclide that feeds it, in transient equilibrium, if the daughter
    lives under :data:`TIE_BELOW_S`; every other map follows itself.
    """
    heads, wide = model.groups.heads, tied_groups(model.chain, TIE_BELOW_S)
    ties = torch.eye(len(heads), dtype=torch.float64)
    for row, head in enumerate(heads):
        of_leaders = wide.weights[model.chain.members.index(head)].tolist()
        for leader, ratio in zip(wide.heads, of_leaders, strict=True):
            if ratio > 0 and leader in heads:
                ties[row] = 0.0
                ties[row, heads.index(leader)] = ratio
    return ties


def _table(blocks: BlockTerms, image: Tensor, state: ObjectState) -> Tensor:
    """Leakage and scatter of an image, [batch, block, bin]."""
    table = partial(blocks.table, state=state.blocks)
    return linear(table, partial(blocks.image, state=state.blocks), image, fixed=not state.requires_grad)


def _total(image: Tensor) -> Tensor:
    """Activity of all maps of each scan, above 0, [batch, 1, 1]."""
    return image.sum(dim=(1, 2, 3, 4)).clamp_min(torch.finfo(image.dtype).tiny)[:, None, None]


def _uniform_start(voxels: Voxels, total: Tensor, duration_s: Tensor, weight: Tensor | None) -> Tensor:
    """The same activity in every seen voxel, expected to give the total counts [batch].

    At least one count, since EM never leaves 0: an empty scan then comes out as 0 after the first update.

    Args:
        voxels: what is seen.
        total: counts of each scan.
        duration_s: measured time of each scan.
        weight: activity of each map over the others', [map]; None: all the same.
    """
    like = voxels.sensitivity
    maps = voxels.seen.to(like) if weight is None else voxels.seen * weight[:, None, None, None]
    per_bq = duration_s.to(like.dtype) * (like * maps).sum(dim=(1, 2, 3, 4))
    level = total.to(like.dtype).clamp_min(1.0) / per_bq.clamp_min(torch.finfo(like.dtype).tiny)
    return maps * level[:, None, None, None, None]


def em_update(
    image: Tensor, back_projected: Tensor, sensitivity: Tensor, voxels: Voxels, together: Tensor | None = None
) -> Tensor:
    """The image after an EM update by one subset; unchanged where the subset sees nothing.

    Args:
        image: [batch, map, z, y, x].
        back_projected: measured over expected counts, back-projected.
        sensitivity: of the subset.
        voxels: bounds the activity of those that are hardly seen.
        together: 1 for maps that change by one factor, [map, map]; None: each by its own.
    """

    def summed(part: Tensor) -> Tensor:
        return part if together is None else torch.einsum("mn,bnzyx->bmzyx", together, part)

    here = sensitivity > LEAST_SENSITIVITY * _largest(sensitivity)
    measured, expected = (summed(torch.where(here, image * of, 0.0)) for of in (back_projected, sensitivity))
    return voxels.bounded(image * _factor(measured, expected))


def _factor(measured: Tensor, expected: Tensor) -> Tensor:
    """Measured over expected; 1 where nothing is expected."""
    some = expected > 0
    return torch.where(some, measured / torch.where(some, expected, 1.0), 1.0)


def _largest(sensitivity: Tensor) -> Tensor:
    """Highest sensitivity of each map, [batch, map, 1, 1, 1]."""
    return sensitivity.amax(dim=(2, 3, 4), keepdim=True)


def _last(images: Iterator[Tensor]) -> Tensor:
    """The last image of at least one."""
    image = next(images)
    for image in images:  # noqa: B007
        pass
    return image
