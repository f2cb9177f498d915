"""What storage raises. No other room has to know which database is behind it.

StorageError            the database did not do what it was asked to
├── RegistryFull        the disk under it is full; the transaction did not happen
├── ConstraintError     a row that has to exist does not, or one that must not exist does
├── DatabaseAway        the database cannot be reached now
│   └── CommitInDoubt   nobody can say any more whether the transaction happened
└── StoreAway           the object store cannot be reached now, or answers that it has too much to do
DataDirBusy             another gateway owns the data directory
└── DataDirMoved        what is in it belongs to a database now
SchemaTooNew            a later version of the gateway wrote the database
"""

from __future__ import annotations


class StorageError(Exception):
    """The database did not do what it was asked to; the transaction did not happen."""


class RegistryFull(StorageError):
    """The disk under the database is full; the transaction did not happen."""


class ConstraintError(StorageError):
    """A constraint of the schema stood against the transaction, which did not happen."""


class DatabaseAway(StorageError):
    """The database cannot be reached now; the transaction did not happen."""


class CommitInDoubt(DatabaseAway):
    """Nobody can say any more whether the transaction happened, as if the gateway had ended in it. Rows tell."""


class StoreAway(StorageError):
    """The object store cannot be reached now, or has too much to do; what was asked of it may be asked again."""


class DataDirBusy(Exception):
    """Another gateway owns this data directory."""


class DataDirMoved(DataDirBusy):
    """What this data directory holds has been moved to a database, or has yet to be."""


class SchemaTooNew(Exception):
    """The database was written by a later version of the gateway."""
