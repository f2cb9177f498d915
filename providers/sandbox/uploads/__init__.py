"""Stand-ins whose jobs read a document that was uploaded: its store, its lines, the life of a job, the wire."""
