"""What storage raises. No other room has to know which database is behind it.

StorageError            the database did not do what it was asked to
├── RegistryFull        the disk under it is full; the transaction did not happen
└── ConstraintError     a row that has to exist does not, or one that must not exist does
DataDirBusy             another gateway owns the data directory
SchemaTooNew            a later version of the gateway wrote the database
"""

from __future__ import annotations


class StorageError(Exception):
    """The database did not do what it was asked to; the transaction did not happen."""


class RegistryFull(StorageError):
    """The disk under the database is full; the transaction did not happen."""


class ConstraintError(StorageError):
    """A constraint of the schema stood against the transaction, which did not happen."""


class DataDirBusy(Exception):
    """Another gateway owns this data directory."""


class SchemaTooNew(Exception):
    """The database was written by a later version of the gateway."""
