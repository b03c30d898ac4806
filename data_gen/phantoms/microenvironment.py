"""Heterogeneous uptake inside a tumour, down to clusters of cells; lengths in mm, uptake relative to its
mean.

The model and its default values are assumptions (see :class:`Microenvironment`), not taken from a source.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.phantoms.phantom import ORGANS, Phantom, PhantomFamily

FINEST_MM = 0.05
"""Smallest voxel edge: below this, cells and alpha ranges count one by one, and relative uptake per voxel
means little.
"""

_MOST_VOXELS = 30_000_000
"""Upper limit on the fine voxels of one tumour, which bounds the memory."""

_PIECE = 200_000
"""Points whose distances to all vessels are held at once, over the number of vessels."""


@dataclass(frozen=True)
class Microenvironment:
    """What makes uptake uneven; each factor can be switched off by its neutral value.

    Clusters of cells differ by a log-normal factor, and only a share of them takes up anything. The
    carrier leaves the vessels and is caught on its way (binding-site barrier): uptake falls exponentially
    with the distance from the nearest vessel. The core is dead, the rim is better fed. The values are
    assumptions of a usual size, not measurements.

    Args:
        cluster_mm: where the correlation of uptake between two points has fallen to 1/e.
        spread: standard deviation of the logarithm of uptake between clusters; 0 for none.
        positive_share: share of the clusters that takes up anything; 1 for all.
        vessel_spacing_mm: vessels run 1 / spacing^2 mm long in each mm3, straight and in all directions.
        penetration_mm: distance from a vessel over which uptake falls to 1/e; inf for even perfusion.
        core_radius: radius of the necrotic core over that of the tumour; 0 for none. In a tumour that is no
            ball: what lies deeper under its surface than 1 - core_radius of the greatest depth.
        core_uptake: uptake there relative to living tissue.
        rim_mm: thickness of the rim; 0 for none.
        rim_uptake: uptake there relative to the inside.

    Raises:
        UserError: a constant is out of its range.
    """

    cluster_mm: float = 0.2
    spread: float = 0.6
    positive_share: float = 0.85
    vessel_spacing_mm: float = 0.3
    penetration_mm: float = 0.15
    core_radius: float = 0.5
    core_uptake: float = 0.05
    rim_mm: float = 0.25
    rim_uptake: float = 1.5

    def __post_init__(self) -> None:
        for name in ("cluster_mm", "vessel_spacing_mm", "penetration_mm"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"microenvironment.{name} is {getattr(self, name)}; it needs a length above 0 mm"
                )
        for name in ("spread", "core_uptake", "rim_mm", "rim_uptake"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"microenvironment.{name} is {getattr(self, name)}; it needs 0 or more")
        if not 0 < self.positive_share <= 1:
            raise UserError(
                f"microenvironment.positive_share is {self.positive_share}; it needs above 0, at most 1"
            )
        if not 0 <= self.core_radius < 1:
            raise UserError(
                f"microenvironment.core_radius is {self.core_radius}; it needs 0 or more, below 1"
            )


@dataclass(frozen=True)
class MicroenvironmentPhantom:
    """Individuals of another family, their tumours unevenly filled; everything else is as it was.

    Each tumour (voxels of that label that touch) keeps its share of the injected activity. Within it the
    anatomy's uptake is multiplied by that of :func:`uneven_uptake`.

    Args:
        anatomy: whose tumours are filled.
        microenvironment: what makes uptake uneven.
        fine_mm: edge of the fine voxels that clusters and vessels are drawn on, at most half of cluster_mm.

    Raises:
        UserError: ``fine_mm`` is out of its range.
    """

    anatomy: PhantomFamily
    microenvironment: Microenvironment = field(default_factory=Microenvironment)
    fine_mm: float = 0.1

    def __post_init__(self) -> None:
        _check_fine(self.fine_mm, self.microenvironment)

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:
        """One individual on this grid: anatomy first, then its tumours.

        Raises:
            UserError: the anatomy's activity is not fixed, or a tumour has too many fine voxels.
        """
        body = self.anatomy(grid, generator)
        if not isinstance(body, Phantom):
            raise UserError(
                f"phantom.anatomy gives a {type(body).__name__}; a microenvironment needs one of fixed uptake"
            )
        touching, count = label(
            (body.labels == ORGANS.index("tumour")).numpy(), structure=torch.ones(3, 3, 3)
        )
        uptake = body.uptake.clone()
        for number in range(1, count + 1):
            tumour = torch.from_numpy(touching == number)
            uneven = uneven_uptake(tumour, grid, self.microenvironment, generator, self.fine_mm)
            before, after = uptake[tumour], uptake[tumour] * uneven[tumour]
            uptake[tumour] = after * before.sum() / after.sum().clamp_min(1e-300)
        return dataclasses.replace(body, uptake=uptake)


def uneven_uptake(
    tumour: Tensor,
    grid: VoxelGrid,
    constants: Microenvironment,
    generator: torch.Generator,
    fine_mm: float = FINEST_MM,
) -> Tensor:
    """Relative uptake of a tumour, [z, y, x] float64: its mean over the tumour is 1, it is 0 outside.

    The tumour's voxels are cut into fine ones, at most ``fine_mm`` wide, whose uptakes are averaged. A tumour
    so small that none of its clusters takes up anything is filled evenly.

    Args:
        tumour: its voxels, [z, y, x] bool.
        grid: voxel grid of the tumour.
        constants: parameters of the microenvironment.
        generator: random generator of clusters and vessels.
        fine_mm: edge of the fine voxels, :data:`FINEST_MM` or more.

    Raises:
        UserError: the tumour has no voxel, or fine voxels are too small, too large or too many.
    """
    _check_fine(fine_mm, constants)
    if not bool(tumour.any()):
        raise UserError("the tumour has no voxel on this grid; it needs a larger radius or finer voxels")
    boxes = [_occupied(tumour, axis) for axis in range(3)]
    box = tumour[boxes[0], boxes[1], boxes[2]]
    factors = [math.ceil(edge / fine_mm - 1e-9) for edge in grid.spacing_mm]
    count = box.numel() * math.prod(factors)
    if count > _MOST_VOXELS:
        raise UserError(
            f"a tumour in a box of {list(box.shape)} voxels has {count} fine voxels of {fine_mm} mm; "
            f"fine_mm needs to be larger, for at most {_MOST_VOXELS}"
        )
    steps = [edge / n for edge, n in zip(grid.spacing_mm, factors, strict=True)]
    fine = box
    for axis, n in enumerate(factors):
        fine = fine.repeat_interleave(n, dim=axis)
    uptake = _fine_uptake(fine, steps, constants, generator)
    split = [size for n, f in zip(fine.shape, factors, strict=True) for size in (n // f, f)]
    result = torch.zeros(grid.shape, dtype=torch.float64)
    result[boxes[0], boxes[1], boxes[2]] = uptake.reshape(split).mean(dim=(1, 3, 5))
    return result


def _check_fine(fine_mm: float, constants: Microenvironment) -> None:
    """Refuse fine voxels that are too small for what is modelled or too large for its clusters."""
    if not FINEST_MM <= fine_mm <= constants.cluster_mm / 2:
        raise UserError(
            f"fine_mm is {fine_mm}; it needs {FINEST_MM} mm or more, and at most half of cluster_mm, "
            f"{constants.cluster_mm}"
        )


def _occupied(mask: Tensor, axis: int) -> slice:
    """From the first to the last place along an axis at which a mask holds anything."""
    along = mask.any(dim=(axis + 1) % 3, keepdim=True).any(dim=(axis + 2) % 3, keepdim=True).flatten()
    places = along.nonzero().flatten().tolist()
    return slice(places[0], places[-1] + 1)


def _fine_uptake(
    inside: Tensor, steps_mm: Sequence[float], constants: Microenvironment, generator: torch.Generator
) -> Tensor:
    """Relative uptake of fine voxels with these edges, [z, y, x]: mean 1 over those inside."""
    uptake = _clusters(inside.shape, steps_mm, constants, generator)
    if math.isfinite(constants.penetration_mm):
        points = inside.nonzero().double() * torch.tensor(steps_mm, dtype=torch.float64)
        points = points - points.mean(0)
        reach = float(points.norm(dim=1).max()) + 2 * constants.vessel_spacing_mm
        away = vessel_distance(points, reach, constants.vessel_spacing_mm, generator)
        uptake[inside] *= torch.exp(-away / constants.penetration_mm)
    depth = _depth_mm(inside, steps_mm)
    uptake[depth > (1 - constants.core_radius) * depth.max()] *= constants.core_uptake
    uptake[depth < constants.rim_mm] *= constants.rim_uptake
    uptake[~inside] = 0.0
    mean = uptake[inside].mean()
    return uptake / mean if float(mean) > 0 else inside.double()


def _depth_mm(inside: Tensor, steps_mm: Sequence[float]) -> Tensor:
    """Depth of fine voxels under the surface, half a voxel at it; 0 outside."""
    padded = torch.nn.functional.pad(inside, (1,) * 6).numpy()
    depth = torch.from_numpy(distance_transform_edt(padded, sampling=tuple(steps_mm)))
    return (depth[1:-1, 1:-1, 1:-1] - sum(steps_mm) / 6).clamp_min(0.0)


def _clusters(
    shape: Sequence[int], steps_mm: Sequence[float], constants: Microenvironment, generator: torch.Generator
) -> Tensor:
    """Log-normal uptake of clusters, 0 in those that take up nothing."""
    lowest = torch.special.ndtri(torch.tensor(1 - constants.positive_share, dtype=torch.float64))
    cells = gaussian_field(shape, steps_mm, constants.cluster_mm, generator)
    return torch.where(cells >= lowest, torch.exp(constants.spread * cells), 0.0)


def gaussian_field(
    shape: Sequence[int], spacing_mm: Sequence[float], correlation_mm: float, generator: torch.Generator
) -> Tensor:
    """A Gaussian random field of mean 0 and variance 1, correlated as exp(-(r / correlation)^2), float64.

    White noise smoothed by a Gaussian of half that length; margins keep opposite ends apart.
    """
    field_shape = [n + math.ceil(4 * correlation_mm / s) for n, s in zip(shape, spacing_mm, strict=True)]
    noise = torch.randn(field_shape, generator=generator, dtype=torch.float64)
    gain = torch.ones((), dtype=torch.float64)
    for axis, (count, step) in enumerate(zip(field_shape, spacing_mm, strict=True)):
        cycles = torch.fft.rfftfreq(count, step) if axis == 2 else torch.fft.fftfreq(count, step)
        along = torch.exp(-0.5 * (math.pi * cycles.to(torch.float64) * correlation_mm).square())
        gain = gain[..., None] * along if axis else along
    smooth = torch.fft.irfftn(torch.fft.rfftn(noise) * gain, s=field_shape)
    kernel = torch.fft.irfftn(gain.to(torch.complex128), s=field_shape)
    field: Tensor = smooth[tuple(slice(n) for n in shape)] / kernel.square().sum().sqrt()
    return field


def vessel_distance(
    points_mm: Tensor, radius_mm: float, spacing_mm: float, generator: torch.Generator
) -> Tensor:
    """Distance of points [n, 3] from the nearest of straight vessels in all directions, [n] in mm.

    Vessels are a Poisson process of lines that meet the sphere of this radius about the origin, 1 / spacing^2
    mm long in each mm3, so that a random point is farther than d from all of them with the probability
    exp(-pi (d / spacing)^2). There is at least one.
    """
    mean = torch.tensor(math.pi * (radius_mm / spacing_mm) ** 2, dtype=torch.float64)
    count = max(1, int(torch.poisson(mean, generator=generator)))
    along = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=1, keepdim=True)
    # Lines in all directions pass evenly through the disk across them.
    aside = torch.linalg.cross(along, torch.randn(count, 3, generator=generator, dtype=torch.float64))
    share = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    through = aside / aside.norm(dim=1, keepdim=True) * (radius_mm * share.sqrt())
    nearest = []
    for piece in points_mm.split(max(1, _PIECE // count)):
        # Squared distance to a line: |p - c|^2 - (p . u)^2, as c is across u.
        squared = (
            piece.square().sum(1, keepdim=True)
            - 2 * piece @ through.T
            + through.square().sum(1)
            - (piece @ along.T).square()
        )
        nearest.append(squared.min(dim=1).values.clamp_min(0.0).sqrt())
    return torch.cat(nearest)
