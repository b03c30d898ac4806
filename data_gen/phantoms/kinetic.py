"""Phantoms whose activity follows a compartment model: each chain member has a distribution of its own over
time.

Transfer rates in 1/h, activities in Bq. Source of the rate equations: docs/physics.md, section 2; blood
volumes of organs are assumptions, see :data:`BLOOD_ML_PER_G`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import VoxelGrid
from data_gen.kinetics import EXCRETED, CompartmentModel, RegionKinetics, kinetics_for, painted
from data_gen.nuclides import DecayChain, MemberGroups
from data_gen.phantoms.biodistribution import checked_organ
from data_gen.phantoms.phantom import ORGANS, Phantom, PhantomFamily

BODY = ORGANS[1:]
"""Every organ."""

REST = "soft_tissue"
"""The region of all organs that no other region names, unless it is told its organs."""

BLOOD_ML_PER_G: Mapping[str, float] = {
    "lungs": 0.50,
    "liver": 0.31,
    "kidneys": 0.24,
    "spleen": 0.17,
    "brain": 0.03,
    "heart": 0.50,
}
"""Blood in an organ of the mouse, assumed: of the size that Brown et al. (Toxicol. Ind. Health 13:407, 1997)
tabulate, but not checked against their table; that of the heart includes its chambers."""

BLOOD_ELSEWHERE_ML_PER_G = 0.04
"""Blood in all other organs, as in muscle; assumed in the same way."""


@dataclass(frozen=True)
class RegionalPhantom:
    """An individual whose regions exchange activity; a :class:`~data_gen.phantoms.ScannedObject`.

    Args:
        density: [z, y, x] in g/cm3.
        labels: index into ``ORGANS``, [z, y, x] int64.
        body_mass_g: mass of the whole animal.
        model: regions and rates of this individual.
        shares: region to the share of it in each voxel, [z, y, x]; what is missing to 1 is out of view.
    """

    density: Tensor
    labels: Tensor
    body_mass_g: float
    model: CompartmentModel
    shares: Mapping[str, Tensor]

    def mean_activity(
        self, chain: DecayChain, groups: MemberGroups, injected_bq: float, frame: Frame
    ) -> Tensor:
        """Mean activity over a frame of the head of each group, [map, z, y, x] in Bq per voxel, float32.

        The rate equations of all members and regions are solved together. Other members of a group follow
        its head in the forward model; one that is to wander needs a group of its own.
        """
        regional = RegionKinetics(self.model, chain, injected_bq).frame_means([frame])[0]
        heads = [chain.members.index(head) for head in groups.heads]
        return painted(regional[:, heads], self.model.regions, self.shares).float()


@dataclass(frozen=True)
class KineticPhantom:
    """Individuals whose activity at the time of the scan follows a compartment model.

    The anatomy gives density and organs. A region that is one organ is filled in the shape of the anatomy's
    uptake there (cortex and medulla, one tumour beside another); a region of several organs is filled by
    mass, and ``blood`` by the volume of blood in each organ. How much a region holds is the model's alone.

    Args:
        anatomy: who is scanned; only the shape of its uptake within an organ is used.
        kinetics: name of a model in the box or a YAML file; None: the box's own for the injected nuclide.
        organs: region to its organs. A region not named has the organ of its own name; ``blood`` is in every
            organ, ``soft_tissue`` in all that no other region names.
        whole_body: regions that go on outside the grid. Of them, the part of the body's mass that is in view
            is in view; all others are in view as a whole.
        rate_spread: standard deviation of the logarithm of each rate between individuals.

    Raises:
        UserError: the spread is negative, or an organ is unknown.
    """

    anatomy: PhantomFamily
    kinetics: str | CompartmentModel | None = None
    organs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    whole_body: Sequence[str] = ("blood", "bone", REST)
    rate_spread: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.rate_spread < math.inf:
            raise UserError(f"phantom.rate_spread is {self.rate_spread}; it needs 0 or more")
        for region, organs in self.organs.items():
            for organ in organs:
                checked_organ(f"phantom.organs.{region}", organ)

    def for_chain(self, chain: DecayChain) -> KineticPhantom:
        """The family with the compartment model of the injected nuclide.

        Raises:
            UserError: the model is for another nuclide, the box holds none for it, or a region is no organ.
        """
        model = self.kinetics
        if not isinstance(model, CompartmentModel):
            model = kinetics_for(chain, model)
        RegionKinetics(model, chain, 1.0)  # refuses members that the chain lacks
        region_organs(model.regions, self.organs)
        return dataclasses.replace(self, kinetics=model)

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> RegionalPhantom:
        """One individual on this grid: anatomy first, then its rates.

        Raises:
            UserError: the injected nuclide is not known yet (see :meth:`for_chain`), or no region is in view.
        """
        if not isinstance(self.kinetics, CompartmentModel):
            raise UserError(
                "the kinetics need the injected nuclide; call for_chain before drawing individuals"
            )
        body = self.anatomy(grid, generator)
        if not isinstance(body, Phantom):
            raise UserError(
                f"phantom.anatomy gives a {type(body).__name__}; the kinetics need one of fixed uptake"
            )
        regions = self.kinetics.regions
        shares = region_shares(body, regions, self.organs)
        mass = body.density.double() * grid.voxel_volume_ml
        in_view = min(1.0, float(mass[body.labels > 0].sum()) / body.body_mass_g)
        shares |= {region: in_view * shares[region] for region in self.whole_body if region in shares}
        masses = {
            region: float(mass[_held(body, organs)].sum())
            for region, organs in region_organs(regions, self.organs).items()
        }
        model = self.kinetics.for_masses(masses).varied(self.rate_spread, generator)
        return RegionalPhantom(body.density, body.labels, body.body_mass_g, model, shares)


def region_organs(
    regions: Sequence[str], organs: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Region to its organs; ``excreted`` has none and is left out.

    Args:
        regions: regions of the compartment model.
        organs: region to its organs, where they are not those that :class:`KineticPhantom` tells.

    Raises:
        UserError: a region is no organ and is not told its organs, an organ is unknown, ``organs`` names a
            region that the model lacks, or no region holds tumours.
    """
    given = {region: tuple(held) for region, held in (organs or {}).items()}
    for region in given:
        if region not in regions:
            raise UserError(f"phantom.organs names the region {region!r}; the model has {', '.join(regions)}")
    inside = [region for region in regions if region != EXCRETED]
    found = {r: given.get(r, (r,)) for r in inside if r in given or r not in ("blood", REST)}
    for region, held in found.items():
        for organ in held:
            checked_organ(f"kinetics.regions.{region}", organ)
    named = {organ for held in found.values() for organ in held}
    if "tumour" not in named:
        raise UserError(f"the kinetics' regions are {', '.join(regions)}; one of them needs to hold tumours")
    if "blood" in inside and "blood" not in given:
        found["blood"] = BODY
    if REST in inside and REST not in given:
        found[REST] = tuple(organ for organ in BODY if organ not in named)
    return {region: found[region] for region in inside}


def region_shares(
    phantom: Phantom, regions: Sequence[str], organs: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Tensor]:
    """Share of each region in each voxel, [z, y, x] float64, as :class:`KineticPhantom` fills regions.

    Each sums to 1, or to 0 where none of the region's organs is in view.

    Args:
        phantom: density, labels and uptake.
        regions: regions of the compartment model; ``excreted`` gets no shares.
        organs: see :func:`region_organs`.

    Raises:
        UserError: see :func:`region_organs`.
    """
    density = phantom.density.double()
    blood = torch.tensor([BLOOD_ML_PER_G.get(organ, BLOOD_ELSEWHERE_ML_PER_G) for organ in ORGANS]).double()
    shares = {}
    for region, held in region_organs(regions, organs).items():
        inside = _held(phantom, held)
        filled = inside * density
        if region == "blood":
            filled = filled * blood[phantom.labels]
        elif len(held) == 1 and float((inside * phantom.uptake).sum()) > 0:
            filled = inside * phantom.uptake.double()
        shares[region] = filled / filled.sum().clamp_min(1e-300)
    return shares


def _held(phantom: Phantom, organs: Sequence[str]) -> Tensor:
    """Voxels of some organs, [z, y, x] bool."""
    return torch.isin(phantom.labels, torch.tensor([ORGANS.index(organ) for organ in organs]))
