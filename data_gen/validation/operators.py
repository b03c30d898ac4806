"""Transposes, linearity and subsets of every linear stage, and of the whole model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.detector import GaussianResponse
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import decay_chain
from data_gen.projector import MatrixProjector, RayProjector, RaySampling
from data_gen.scatter import ScatterTerm
from data_gen.validation.point import Findings, Point
from data_gen.validation.scenes import ring

_GRID = VoxelGrid((5, 4, 6), (4.0, 5.0, 4.5))
_LIMITS = {torch.float32: 1e-5, torch.float64: 1e-12}
_Precision = Literal["float32", "float64"]
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class _Stage:
    """A linear map and its transpose, with the shape of what goes in."""

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    part: Callable[[Tensor], _Stage] | None = None
    """The same stage for some pixels; what it makes has pixels on axis 1."""


def adjoint(
    precisions: Sequence[Literal["float32", "float64"]] = ("float32", "float64"),
    rays: int = 12,
    parts: int = 3,
    response: Literal["cdte", "gaussian"] = "cdte",
) -> Findings:
    """<A x, y> = <x, A^T y> for signed x and y, linearity, and subsets that sum to the whole.

    Args:
        precisions: of the numbers; linearity and subsets are looked at in float64.
        rays: number of rays for each pair of pixel and aperture.
        parts: into which the pixels are cut, at random.
        response: of the model's detector; a Gaussian is quicker to make.
    """
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for precision in precisions:
            dtype = _DTYPES[precision]
            for name, stage in _stages(dtype, RaySampling(rays, 4), folder, response):
                points.append(_transpose(f"{name}_{precision}", stage, dtype))
                if dtype == torch.float64:
                    points.append(_linearity(name, stage))
                    points += _subsets(name, stage, parts)
    return Findings(points)


def _stages(
    dtype: torch.dtype, sampling: RaySampling, folder: str, response: str
) -> Iterator[tuple[str, _Stage]]:
    """Both projectors, the recording, its rows at events, what comes otherwise, and the whole model."""
    energies = torch.tensor([82.0, 218.0], dtype=torch.float64)
    matrix = partial(MatrixProjector, cache_dir=folder, sampling=sampling, dtype=dtype)
    density, shape = _density(dtype), (2, 2, *_GRID.shape)
    symmetric = ring((40.0, 140.0, 220.0, 320.0))
    yield "ray", _projector(RayProjector(ring(), _GRID, energies, sampling=sampling), density, shape)
    yield "matrix", _projector(matrix(ring(), _GRID, energies), density, shape)
    yield "matrix_mirrored", _projector(matrix(symmetric, _GRID, energies), density, shape)
    camera = ring()
    if response == "gaussian":
        blurred = GaussianResponse("CdTe", 2.0, 3.0, 122.0, 5.0, position_fwhm_mm=4.0)
        camera = replace(camera, response=blurred)
    model = HyperspectralForwardModel(
        camera,
        decay_chain("Pb-212"),
        _GRID,
        EnergyBins(20, 600, 29),
        options=ModelOptions(reference_energies=2),
        projector=matrix,
    )
    yield from _parts(model, density[:1])
    yield "model", _model(model, density[:1])


def _parts(model: HyperspectralForwardModel, density: Tensor) -> Iterator[tuple[str, _Stage]]:
    """The stages inside of a model, and the model at events."""
    state, shape = model.attenuation(density), (1, len(model.groups.names), *model.grid.shape)
    seen = model.projector.forward(_draw(shape, 5, density.dtype), state.sharp)
    yield "recording", _Stage(model.recording.record, model.recording.unrecord, tuple(seen.shape))
    for term in model.scatter_terms:
        yield type(term).__name__.lower(), _term(term, density, shape)
    pixel, energy = (torch.randint(n, (200,), generator=_generator(6)) for n in (model.pixels, 29))
    yield (
        "model_at_events",
        _Stage(
            lambda x: model.project_at(x, state, pixel, energy),
            lambda y: model.back_project_at(y, state, pixel, energy),
            shape,
        ),
    )


def _term(term: ScatterTerm, density: Tensor, shape: tuple[int, ...]) -> _Stage:
    kept = term.state(density)
    return _Stage(lambda x: term.forward(x, kept), lambda y: term.adjoint(y, kept), shape)


def _projector(projector: RayProjector | MatrixProjector, density: Tensor, shape: tuple[int, ...]) -> _Stage:
    kept = projector.attenuation(density)
    return _Stage(
        lambda x: projector.forward(x, kept),
        lambda y: projector.adjoint(y, kept),
        shape,
        lambda pixels: _projector(projector.subset(pixels), density, shape),
    )


def _model(model: HyperspectralForwardModel, density: Tensor) -> _Stage:
    return _Stage(
        lambda x: model.A(x, density),
        lambda y: model.A_adjoint(y, density),
        (1, len(model.groups.names), *model.grid.shape),
        lambda pixels: _model(model.subset(pixels), density),
    )


def _transpose(name: str, stage: _Stage, dtype: torch.dtype) -> Point:
    """Difference of the two products, relative to |A x| |y|."""
    x = _draw(stage.shape, 0, dtype)
    seen = stage.forward(x)
    y = _draw(tuple(seen.shape), 1, dtype)
    left = (seen.double() * y.double()).sum()
    right = (stage.adjoint(y).double() * x.double()).sum()
    error = float((left - right).abs() / (seen.double().norm() * y.double().norm()))
    source = "definition of the transpose"
    return Point(f"{name}", error, _LIMITS[dtype], "<A x, y> = <x, A^T y>", source, "signed x and y")


def _linearity(name: str, stage: _Stage) -> Point:
    x, y = _draw(stage.shape, 2), _draw(stage.shape, 3)
    apart = 2 * stage.forward(x) - 3 * stage.forward(y)
    error = float((stage.forward(2 * x - 3 * y) - apart).abs().max() / apart.abs().max())
    return Point(
        f"{name}_linear", error, 1e-6, "A(2x - 3y) = 2Ax - 3Ay", "definition of linearity", "float64"
    )


def _subsets(name: str, stage: _Stage, parts: int) -> list[Point]:
    """Rows of subsets are rows of the whole; their transposes sum to the whole's."""
    if stage.part is None:
        return []
    whole = stage.forward(_draw(stage.shape, 4))
    y = _draw(tuple(whole.shape), 7)
    back = stage.adjoint(y)
    rows, total = 0.0, torch.zeros_like(back)
    for pixels in torch.randperm(whole.shape[1], generator=_generator(8)).chunk(parts):
        part = stage.part(pixels)
        rows = max(rows, float((part.forward(_draw(stage.shape, 4)) - whole[:, pixels]).abs().max()))
        total += part.adjoint(y[:, pixels])
    note = f"{parts} random subsets, float64"
    return [
        Point(
            f"{name}_subset_rows",
            rows / float(whole.abs().max()),
            1e-6,
            "rows of the whole",
            "definition of a subset",
            note,
        ),
        Point(
            f"{name}_subset_sum",
            float((total - back).abs().max() / back.abs().max()),
            1e-6,
            "transposes of subsets sum to the whole's",
            "definition of a subset",
            note,
        ),
    ]


def _density(dtype: torch.dtype) -> Tensor:
    """[2, z, y, x]: soft tissue with some air and bone."""
    density = 0.9 + 0.2 * torch.rand(2, *_GRID.shape, generator=_generator(9), dtype=dtype)
    density[:, 0], density[:, -1] = 0.01, 1.8
    return density


def _draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=_generator(seed), dtype=dtype)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
