"""The database and the object store that replicas share: what may stand in their settings, and what is wrong there."""
