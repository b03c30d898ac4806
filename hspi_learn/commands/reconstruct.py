"""Activity maps of one scan as NIfTI: ``hspi-reconstruct run=RUN input=FILE output=OUT.nii.gz``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from data_gen.core.errors import UserError
from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node, Threads

if TYPE_CHECKING:
    from torch import Tensor

    from data_gen.core.grid import VoxelGrid
    from data_gen.forward_model.model import HyperspectralForwardModel
    from data_gen.forward_model.system import ImagingSystem
    from hspi_learn.evaluation import Calibration, Table
    from hspi_learn.io.scan_files import ScanFile
    from hspi_learn.reconstructor import Reconstructor, ScanContext

    Chosen = tuple[Reconstructor, HyperspectralForwardModel, ImagingSystem, tuple[int, ...]]
    """A method, its model, their system, and the panels of the camera that are silent."""


MOST_BINS = 100
"""Energy bins in which lesions are looked at as they are; more are summed to windows; chosen."""


@dataclass(frozen=True)
class ReconstructSettings:
    """Keys of ``conf/reconstruct.yaml``."""

    input: str
    output: str
    scan: int
    method: Node
    grid: Node
    energy_bins: Node
    body_diameter_mm: float
    threads: Threads
    lesions: bool = False
    outlines: str | None = None
    calibration: str | None = None
    run: str | None = None
    model: Node | None = None
    camera: Node | None = None
    nuclide: Node | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    duration_s: float | None = None
    density: str | None = None
    dead_pixels: tuple[int, ...] = ()


def reconstruct(config: DictConfig) -> dict[str, float]:
    """Reconstruct as the config says; returns the activity of each map in Bq.

    Where parts of the camera recorded nothing it returns their numbers as well: ``dead_pixels``,
    ``silent_panels``, ``empty_pixels``; and the number of ``lesions`` where they are asked for.

    Args:
        config: see ``conf/reconstruct.yaml``.

    Raises:
        UserError: the config, the scan or the run is not what it needs to be.
    """
    import torch

    from hspi_learn.io.atomic import write_text
    from hspi_learn.io.nifti import read_outlines, write_activity
    from hspi_learn.io.scan_files import read_scan
    from hspi_learn.reconstructor import scan_context

    torch.set_num_threads(config.threads)
    output, calibration = _output(config.output), _calibration(config)
    scan = read_scan(Path(config.input), config.scan)
    make = _classical if config.run is None else _trained
    method, model, system, silent = make(config, scan)
    outlines = None if config.outlines is None else read_outlines(Path(config.outlines), model.grid)
    calibrated = None
    if calibration is not None:
        assert isinstance(method, torch.nn.Module)
        calibrated = calibration, calibration.of_network(method, config.calibration)
    dead = (model.recording.live == 0).nonzero().flatten().tolist()
    scan = scan.without(dead)
    density, told = _density(config, scan, model.grid)
    duration_s = torch.tensor([_duration_s(config, scan)])
    context = scan_context(model, density[None], duration_s)
    with torch.no_grad():
        activity = _activity(method, model, scan, context)
        empty = _empty_pixels(model, scan, activity, context)
        tables = []
        if config.lesions:
            tables.append(_lesions(model, system, scan, activity, context))
        if outlines is not None:
            tables.append(_organs(model, scan, activity, outlines, calibrated))
    written = write_activity(output, activity, model.grid, list(model.groups.members.values()))
    totals = dict(zip(model.groups.names, activity.sum(dim=(1, 2, 3)).tolist(), strict=True))
    for table in tables:
        write_text(written.with_name(f"{_stem(written)}_{table.name}.csv"), table.csv())
    _print(written, totals, told, tables)
    found = {"lesions": len({row[0] for table in tables if table.name == "lesions" for row in table.rows})}
    found |= {"dead_pixels": len(dead), "silent_panels": len(silent), "empty_pixels": empty}
    return totals | {name: float(number) for name, number in found.items() if number}


def _output(name: str) -> Path:
    """The file to write; a name without a suffix is a folder."""
    from hspi_learn.io.nifti import checked_suffix

    path = Path(name)
    path = path if path.suffix else path / "activity.nii.gz"
    checked_suffix(path)
    return path


def _trained(config: DictConfig, scan: ScanFile) -> Chosen:
    """The network of a run, if it was trained for the camera and nuclide of the scan."""
    from hspi_learn.configs.runs import load_task
    from hspi_learn.reconstructor import Reconstructor

    task = load_task(config.run)
    makes_activity = isinstance(task, Reconstructor)
    if not makes_activity:
        raise UserError(
            f"run is {config.run}, a {type(task).__name__}, which makes no activity maps; "
            "it needs the run of a reconstruction"
        )
    if config.get("model") is not None:
        raise UserError(f"model is given, but run {config.run} knows its own; leave model and projector out")
    _check_config(config, task.system, f"run {config.run}")
    _check_same(scan, task.system.to_dict(), f"run {config.run} was trained for")
    dead, silent = _dead_pixels(config, scan, task.system)
    if dead != task.system.dead_pixels:
        task = load_task(config.run, dead)
    return task, task.model, task.system, silent


def _classical(config: DictConfig, scan: ScanFile) -> Chosen:
    """The classical method for the scan's own system, or the one that the config describes.

    Events are fitted on fine bins; counts on the bins that they came in.
    """
    from data_gen.forward_model.system import ImagingSystem
    from hspi_learn.configs.build import build
    from hspi_learn.io.scan_files import Histogram

    if scan.system is None:
        system = _described(config, scan)
    else:
        system = ImagingSystem.from_dict(scan.system)
        _check_config(config, system, scan.source)
    if config.get("model") is not None:
        system = system.with_options(build(config.model, key="model"))
    dead, silent = _dead_pixels(config, scan, system)
    system = system.with_dead_pixels(dead)
    model = system.forward_model(scan.data.axis if isinstance(scan.data, Histogram) else None)
    return build(config.method, key="method", model=model), model, system, silent


def _dead_pixels(
    config: DictConfig, scan: ScanFile, system: ImagingSystem
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pixels that record nothing, rising, and panels that are silent without anyone having said so.

    Pixels are dead by the system, the file or the config, or because their whole panel recorded nothing.
    """
    from data_gen.readout import silent_panels

    pixels = system.camera.pixel_count
    scan.checked(pixels)
    of_shard = (scan.system or {}).get("dead_pixels", ())
    own = [*system.dead_pixels, *of_shard, *scan.dead_pixels, *config.dead_pixels]
    told = system.with_dead_pixels(own)
    silent = silent_panels(scan.counts_by_pixel(pixels), system.camera, told.live)
    if not silent:
        return told.dead_pixels, silent
    warnings.warn(
        f"{scan.source}: panels {list(silent)} recorded nothing; they are taken for off, "
        "and the others make the image",
        stacklevel=2,
    )
    off = [k for k, panel in enumerate(system.camera.pixel_panel.tolist()) if panel in silent]
    return told.with_dead_pixels([*told.dead_pixels, *off]).dead_pixels, silent


def _empty_pixels(
    model: HyperspectralForwardModel, scan: ScanFile, activity: Tensor, context: ScanContext
) -> int:
    """Live pixels without a count, where they are too many for chance, else 0; they are warned of."""
    from data_gen.readout import empty_pixels

    expected = model.expected_counts(activity[None], context.attenuation, context.duration_s)[0].sum(1)
    empty = empty_pixels(scan.counts_by_pixel(model.pixels), expected)
    if not empty.too_many:
        return 0
    named = f", pixels {list(empty.silent[:10])} among them" if empty.silent else ""
    warnings.warn(
        f"{scan.source}: {empty.found} of {empty.live} pixels recorded nothing{named}, where chance leaves "
        f"{empty.expected:.0f} empty; name dead ones in dead_pixels, or the activity comes out too low",
        stacklevel=2,
    )
    return empty.found


def _described(config: DictConfig, scan: ScanFile) -> ImagingSystem:
    """The imaging system of the config."""
    from data_gen.forward_model.system import ImagingSystem
    from hspi_learn.configs.build import build

    for key, option in (("camera", "camera=demo"), ("nuclide", "nuclide=ac225")):
        if config.get(key) is None:
            raise UserError(f"{key} is not given and {scan.source} does not say it; set it, as in {option}")
    camera, chain, grid, bins = (
        build(config[key], key=key) for key in ("camera", "nuclide", "grid", "energy_bins")
    )
    groups = None if config.groups is None else {str(k): list(v) for k, v in config.groups.items()}
    return ImagingSystem(camera, chain, grid, bins, groups)


def _check_same(scan: ScanFile, wanted: Mapping[str, Any], who: str) -> None:
    """Refuse a scan of another camera, nuclide or grid."""
    import json

    parts = ("camera", "nuclide", "groups", "grid") if scan.system is not None else ()
    for key in parts:
        mine, theirs = (json.dumps(part.get(key), sort_keys=True) for part in (scan.system or {}, wanted))
        if mine != theirs:
            found, needed = (_short(part.get(key)) for part in (scan.system or {}, wanted))
            raise UserError(
                f"{scan.source} has {key} {found}, but {who} {key} {needed}; they need to be the same"
            )


def _check_config(config: DictConfig, system: ImagingSystem, source: str) -> None:
    """Refuse a camera or nuclide beside a file or run that knows another one."""
    from hspi_learn.configs.build import build

    if config.get("camera") is not None:
        camera = build(config.camera, key="camera")
        if camera.fingerprint != system.camera.fingerprint:
            raise UserError(f"camera is {camera.name}, but {source} is of another; leave camera out")
    if config.get("nuclide") is not None:
        chain = build(config.nuclide, key="nuclide")
        if chain.members[0] != system.chain.members[0]:
            found, own = chain.members[0], system.chain.members[0]
            raise UserError(f"nuclide is {found}, but {source} is of {own}; leave nuclide out")


def _short(part: Any) -> str:
    """A part of a system in a few words."""
    if isinstance(part, Mapping):
        return str(part.get("name") or ", ".join(f"{key} {value}" for key, value in part.items()))[:80]
    return str(part)[:80]


def _density(config: DictConfig, scan: ScanFile, grid: VoxelGrid) -> tuple[Tensor, str]:
    """Density [z, y, x] in g/cm3, and in words where it is from."""
    from hspi_learn.io.nifti import read_density

    if config.density is not None:
        return read_density(Path(config.density), grid), f"density of {config.density}"
    if scan.density is not None:
        return scan.density, "density of the scan's file"
    if config.body_diameter_mm <= 0:
        raise UserError(f"body_diameter_mm is {config.body_diameter_mm}; it needs to be above 0")
    radius_mm = grid.centres_mm()[..., :2].norm(dim=-1)
    told = f"no density given: water in a cylinder of {config.body_diameter_mm:g} mm about the axis"
    return (radius_mm <= config.body_diameter_mm / 2).float(), told


def _duration_s(config: DictConfig, scan: ScanFile) -> float:
    """Measured time."""
    duration_s = scan.duration_s if config.duration_s is None else float(config.duration_s)
    if duration_s is None:
        raise UserError(f"duration_s is not given and {scan.source} does not say it; set duration_s=SECONDS")
    if not 0 < duration_s < float("inf"):
        raise UserError(f"duration_s is {duration_s}; it needs a positive time in s")
    return duration_s if scan.system is not None else scan.checked_duration_s(duration_s)


def _activity(
    method: Reconstructor, model: HyperspectralForwardModel, scan: ScanFile, context: ScanContext
) -> Tensor:
    """Activity [map, z, y, x] in Bq per voxel; list-mode where the method can."""
    from data_gen.core.events import EventList
    from hspi_learn.classical import OrderedSubsets
    from hspi_learn.io.scan_files import check_not_empty

    if isinstance(method, OrderedSubsets) and isinstance(scan.data, EventList):
        edges = model.energy_bins.edges_kev
        events = scan.data.within(float(edges[0]), float(edges[-1]))
        check_not_empty(len(events), scan.source, model.energy_bins)
        return method.reconstruct_events(events, context)[0]
    return method.reconstruct(scan.histogram(model.pixels, model.energy_bins)[None], context)[0]


def _calibration(config: DictConfig) -> Calibration | None:
    """Conformal quantiles, if they are asked for."""
    from hspi_learn.evaluation import Calibration

    if config.calibration is None:
        return None
    if config.run is None or config.outlines is None:
        raise UserError(
            f"calibration is {config.calibration}, which holds intervals of trained runs for outlined "
            "organs; set run=RUN and outlines=FILE too"
        )
    return Calibration.read(Path(config.calibration))


def _lesions(
    model: HyperspectralForwardModel,
    system: ImagingSystem,
    scan: ScanFile,
    activity: Tensor,
    context: ScanContext,
) -> Table:
    """Lesions that the image shows, and their activity from the counts; events are counted in windows cut at
    the photon lines, since images of regions in fine bins take gigabytes."""
    from data_gen.core.events import EventList
    from data_gen.forward_model.line_windows import energy_windows
    from hspi_learn.classical import lesion_activities
    from hspi_learn.evaluation.scan_tables import lesion_table

    if isinstance(scan.data, EventList) and model.energy_bins.count > MOST_BINS:
        model = model.with_energy_bins(energy_windows("lines", system))
    counts = scan.histogram(model.pixels, model.energy_bins)
    duration_s, density, body = float(context.duration_s), context.density[0], context.body[0, 0]
    found = lesion_activities(model, counts, duration_s, density, activity.clamp_min(0), body)
    return lesion_table(model, found)


def _organs(
    model: HyperspectralForwardModel,
    scan: ScanFile,
    activity: Tensor,
    outlines: Tensor,
    calibrated: tuple[Calibration, dict[str, dict[str, float]]] | None,
) -> Table:
    """Activity of outlined organs."""
    from data_gen.phantoms import ORGANS
    from hspi_learn.evaluation.scan_tables import organ_table

    counts = float(scan.histogram(model.pixels, model.energy_bins).sum())
    return organ_table(activity, outlines, counts, model.groups.names, ORGANS, calibrated)


def _stem(written: Path) -> str:
    """Name of a NIfTI file without its suffix."""
    from hspi_learn.io.nifti import checked_suffix

    return written.name.removesuffix(checked_suffix(written))


def _print(written: Path, totals: Mapping[str, float], told: str, tables: Sequence[Table]) -> None:
    """What was found and where it lies."""
    for table in tables:
        print(table.markdown())
    for name, activity_bq in totals.items():
        print(f"{name}: {activity_bq / 1e3:.4g} kBq in the field of view")
    print(f"{told}\n{written.resolve()}")


def main() -> None:
    """The command line."""
    run_command("reconstruct", reconstruct, ReconstructSettings, folder_key="output")


if __name__ == "__main__":
    main()
