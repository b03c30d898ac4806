"""Materials: composition, density, photon attenuation and K fluorescence."""

from data_gen.materials.attenuation import (
    interaction_attenuation_per_mm,
    interaction_probability,
    linear_attenuation_per_mm,
    mass_attenuation,
    process_mass_attenuation,
)
from data_gen.materials.compositions import (
    MATERIALS,
    Material,
    MaterialKind,
    composition,
    density_g_cm3,
    material_named,
)
from data_gen.materials.fluorescence import KFluorescence, k_edges_kev, k_fluorescence
from data_gen.materials.tissues import TISSUES, tissue_from_density, tissue_mass_attenuation

__all__ = [
    "MATERIALS",
    "TISSUES",
    "KFluorescence",
    "Material",
    "MaterialKind",
    "composition",
    "density_g_cm3",
    "interaction_attenuation_per_mm",
    "interaction_probability",
    "k_edges_kev",
    "k_fluorescence",
    "linear_attenuation_per_mm",
    "mass_attenuation",
    "material_named",
    "process_mass_attenuation",
    "tissue_from_density",
    "tissue_mass_attenuation",
]
