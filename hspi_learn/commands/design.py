"""Design apertures by gradient: ``hspi-design``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node, Threads

if TYPE_CHECKING:
    from data_gen.core.grid import VoxelGrid
    from data_gen.design import DesignProblem, RegionalTask
    from data_gen.nuclides import DecayChain, MemberGroups
    from hspi_learn.io.run_folder import RunFolder


@dataclass(frozen=True)
class DesignSettings:
    """Keys of ``conf/design.yaml``."""

    camera: Node
    nuclide: Node
    phantom: Node
    grid: Node
    model: Node
    windows_kev: tuple[float, ...]
    wanted: str
    organs: tuple[str, ...]
    injected_bq: float
    start_s: float
    duration_s: float
    materials: tuple[str, ...]
    diameter_mm: tuple[float, float]
    plane_mm: tuple[float, float]
    most_evaluations: int
    grid_points: int
    check: bool
    check_photons: int
    seed: int
    threads: Threads
    run_dir: str


def design(config: DictConfig) -> dict[str, float]:
    """Design as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/design.yaml``.

    Raises:
        UserError: the config is not what it needs to be.
    """
    import torch

    from data_gen.design import compare, montecarlo_check
    from data_gen.design import design as search
    from hspi_learn.evaluation.designs import (
        check_numbers,
        check_statement,
        design_table,
        numbers_of,
        statement,
    )
    from hspi_learn.io.run_folder import RunFolder
    from hspi_learn.visual import save_figure
    from hspi_learn.visual.designs import design_figure

    torch.set_num_threads(config.threads)
    folder = RunFolder.fresh(config.run_dir)
    problem = _problem(config)
    designs = search(problem, config.materials, config.most_evaluations, config.grid_points, _told)
    _told("comparing before and after")
    found = compare(problem, designs)
    _describe(folder, config, problem)
    table, numbers = design_table(problem, designs), numbers_of(problem, designs, found)
    said = statement(problem, designs, found)
    if config.check:
        checked = montecarlo_check(problem, found, config.check_photons, config.seed, _told)
        numbers, said = numbers | check_numbers(checked), f"{said}\n{check_statement(problem, checked)}"
    table.write(folder.path / "tables")
    save_figure(design_figure(problem, found), folder.figures / "design.png")
    folder.write_metrics(numbers)
    print(f"\n{table.markdown()}\n{said}\n{folder.path}")
    return numbers


def _told(stage: str) -> None:
    """Say what is begun."""
    print(stage, flush=True)


def _problem(config: DictConfig) -> DesignProblem:
    """Camera, object and bounds of the config."""
    from data_gen.core.grid import EnergyWindows
    from data_gen.design import PARAMETERS, Bounds, DesignProblem
    from data_gen.nuclides import tied_groups
    from hspi_learn.configs.build import build

    low_high = (config.diameter_mm, config.plane_mm)
    bounds = Bounds(PARAMETERS, tuple((float(low), float(high)) for low, high in low_high))
    chain, grid = build(config.nuclide, key="nuclide"), build(config.grid, key="grid")
    groups = tied_groups(chain)
    return DesignProblem(
        camera=build(config.camera, key="camera"),
        chain=chain,
        grid=grid,
        windows=EnergyWindows(config.windows_kev),
        groups=groups,
        task=_task(config, chain, groups, grid),
        bounds=bounds,
        options=build(config.model, key="model"),
    )


def _task(config: DictConfig, chain: DecayChain, groups: MemberGroups, grid: VoxelGrid) -> RegionalTask:
    """One mouse and the uptakes to be told."""
    import torch

    from data_gen.design import organ_task
    from data_gen.phantoms import family_for
    from hspi_learn.configs.build import build

    family = family_for(build(config.phantom, key="phantom"), chain)
    phantom = family(grid, torch.Generator().manual_seed(config.seed))
    return organ_task(
        phantom,
        chain,
        groups,
        config.wanted,
        config.organs,
        config.injected_bq,
        config.start_s,
        config.duration_s,
    )


def _describe(folder: RunFolder, config: DictConfig, problem: DesignProblem) -> None:
    """Write down what was designed: config, the camera that it began with, versions."""
    from data_gen.core.grid import EnergyBins
    from data_gen.forward_model.system import ImagingSystem
    from hspi_learn.configs.packages import packages_used
    from hspi_learn.io.environment import environment

    edges = problem.windows.edges_kev.tolist()
    system = ImagingSystem(
        problem.camera,
        problem.chain,
        problem.grid,
        EnergyBins(edges[0], edges[-1], len(edges) - 1),
        problem.groups.members,
        problem.options,
    )
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    settings = {str(key): value for key, value in plain.items()}
    about = environment(config.seed, config.threads, {}, packages_used(settings))
    folder.describe(settings, system.to_dict(), about)


def main() -> None:
    """The command line."""
    run_command("design", design, DesignSettings)


if __name__ == "__main__":
    main()
