"""Scans on disk: HDF5 shards of events and ground truth, and the manifest that lists them."""

from data_gen.storage.manifest import DERIVED, MANIFEST, Manifest, Provenance, ShardEntry
from data_gen.storage.reader import ShardReader
from data_gen.storage.schema import SCHEMA_VERSION, StoredScan
from data_gen.storage.writer import write_shard

__all__ = [
    "DERIVED",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Manifest",
    "Provenance",
    "ShardEntry",
    "ShardReader",
    "StoredScan",
    "write_shard",
]
