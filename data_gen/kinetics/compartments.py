"""The data of a compartment model: regions, and transfer rates (1/h) of bound and of free nuclides."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from data_gen.core.errors import UserError
from data_gen.core.foreign_files import read_yaml
from data_gen.nuclides import DecayChain
from data_gen.nuclides.names import canonical_name

EXCRETED = "excreted"
"""The one region outside the body: what goes there is still counted, and is not painted."""

NAMED = Path(__file__).parent / "named"

Rates = Mapping[str, Mapping[str, float]]
"""From region, to region, rate in 1/h."""


@dataclass(frozen=True)
class CompartmentModel:
    """First-order exchange between regions, with constant rates.

    Args:
        regions: names; ``excreted`` may be one of them.
        injected_into: the region where all activity starts.
        carrier_per_h: rates of everything that is bound to the carrier: from, to, 1/h.
        free_per_h: rates of each member once it is free; members not named stay where they are.
        released: share of a member's atoms that leave the carrier when they are born on it; 0 where not
            named. What is born of a free atom is free.
        nuclide: the injected nuclide that the rates are for; None: any.
        reference_mass_g: region to the mass in g that the rates into it are for. In an individual they
            grow with the region's own mass, see :meth:`for_masses`.

    Raises:
        UserError: a region that is not listed, a negative rate, a share outside 0..1, or a mass of 0 or less.
    """

    regions: Sequence[str]
    injected_into: str
    carrier_per_h: Rates
    free_per_h: Mapping[str, Rates] = field(default_factory=dict)
    released: Mapping[str, float] = field(default_factory=dict)
    nuclide: str | None = None
    reference_mass_g: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))
        if not self.regions or len(set(self.regions)) != len(self.regions):
            raise UserError(f"kinetics.regions is {list(self.regions)}; it needs names, each of them once")
        self._check_region("injected_into", self.injected_into)
        self._check_rates("carrier_per_h", self.carrier_per_h)
        for member, rates in self.free_per_h.items():
            self._check_rates(f"free_per_h.{member}", rates)
        for member, share in self.released.items():
            if not 0 <= share <= 1:
                raise UserError(f"kinetics.released.{member} is {share}; it needs a share from 0 to 1")
        for region, mass in self.reference_mass_g.items():
            self._check_region("reference_mass_g", region)
            if not 0 < mass < math.inf:
                raise UserError(f"kinetics.reference_mass_g.{region} is {mass}; it needs a mass above 0 g")

    def for_masses(self, masses_g: Mapping[str, float]) -> CompartmentModel:
        """The model of an individual whose regions have these masses.

        A rate into a region that has a reference mass is multiplied by mass / reference mass, so that its
        uptake per gram stays, and a region of no mass takes up nothing.

        Args:
            masses_g: region to its mass in g; a region not named keeps its rates.
        """
        factor = {r: masses_g[r] / mass for r, mass in self.reference_mass_g.items() if r in masses_g}
        return self._with_rates(lambda _, target, rate: rate * factor.get(target, 1.0))

    def varied(self, spread: float, generator: torch.Generator) -> CompartmentModel:
        """The model of another individual: each rate times exp(spread x), x normal and independent.

        Args:
            spread: standard deviation of the logarithm of a rate; 0 for none.
            generator: random generator of the numbers x, drawn in the order in which the rates are written.
        """

        def drawn(_: str, __: str, rate: float) -> float:
            x = float(torch.randn((), generator=generator, dtype=torch.float64))
            return rate * math.exp(spread * x)

        return self._with_rates(drawn)

    def _with_rates(self, change: Callable[[str, str, float], float]) -> CompartmentModel:
        """The same model with each rate replaced by change(from, to, rate)."""

        def changed(rates: Rates) -> dict[str, dict[str, float]]:
            return {a: {b: change(a, b, rate) for b, rate in to.items()} for a, to in rates.items()}

        free = {member: changed(rates) for member, rates in self.free_per_h.items()}
        return dataclasses.replace(self, carrier_per_h=changed(self.carrier_per_h), free_per_h=free)

    def _check_rates(self, key: str, rates: Rates) -> None:
        for source, targets in rates.items():
            self._check_region(key, source)
            for target, rate in targets.items():
                self._check_region(f"{key}.{source}", target)
                if source == target or not 0 <= rate < math.inf:
                    raise UserError(
                        f"kinetics.{key}.{source}.{target} is {rate}; "
                        "it needs a rate of 0 or more in 1/h, to another region"
                    )

    def _check_region(self, key: str, region: str) -> None:
        if region not in self.regions:
            close = difflib.get_close_matches(region, self.regions, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self.regions)}"
            raise UserError(f"kinetics.{key} names the region {region!r}; {hint}")


def kinetics_names() -> list[str]:
    """Names of the models in the box."""
    return sorted(path.stem for path in NAMED.glob("*.yaml"))


def load_kinetics(name_or_path: str | Path) -> CompartmentModel:
    """The model of this name, or the one that a YAML file describes.

    Raises:
        UserError: no such name or file, no YAML, or a key that is missing, unknown or wrong.
    """
    path = Path(name_or_path)
    if str(name_or_path) in kinetics_names():
        path = NAMED / f"{name_or_path}.yaml"
    elif not path.is_file():
        raise UserError(
            f"kinetics is {str(name_or_path)!r}; it needs a YAML file or one of {kinetics_names()}"
        )
    try:
        data = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file; it needs plain keys and values in UTF-8") from error
    return _model(data, path.name)


def kinetics_for(chain: DecayChain, name_or_path: str | Path | None = None) -> CompartmentModel:
    """The model of this name or file, or the one in the box for the injected nuclide.

    Args:
        chain: decay chain of the injected nuclide.
        name_or_path: see :func:`load_kinetics`; None chooses by nuclide.

    Raises:
        UserError: the model is for another nuclide, or the box holds none for this one.
    """
    injected = chain.members[0]
    if name_or_path is not None:
        model = load_kinetics(name_or_path)
        if model.nuclide is not None and canonical_name(model.nuclide) != injected:
            raise UserError(
                f"kinetics is {name_or_path}, whose rates are for {model.nuclide}; {injected} is injected, "
                "so it needs a model of its own"
            )
        return model
    models = {name: load_kinetics(name) for name in kinetics_names()}
    for model in models.values():
        if model.nuclide == injected:
            return model
    known = ", ".join(f"{name} for {model.nuclide}" for name, model in models.items())
    raise UserError(
        f"kinetics is not given and the box has no model for {injected} (it has {known}); "
        "set it to a YAML file of its rates"
    )


def _model(data: Any, source: str) -> CompartmentModel:
    """The model in plain data, its keys checked."""
    fields = dataclasses.fields(CompartmentModel)
    if not isinstance(data, dict):
        raise UserError(f"{source} holds {type(data).__name__}; a compartment model needs keys and values")
    for key in data:
        if key not in {f.name for f in fields}:
            raise UserError(f"{source}: {key} is no key of a compartment model; check its spelling")
    for key in ("regions", "injected_into", "carrier_per_h"):
        if key not in data:
            raise UserError(f"{source}: {key} is missing; a compartment model needs it")
    try:
        return CompartmentModel(**data)
    except (AttributeError, TypeError) as error:
        raise UserError(f"{source}: rates need the form from: {{to: 1/h}}, shares member: number") from error
