"""What one workspace, one visitor or one provider can do to another, tried from outside over HTTP.

Every attack prints what its victim saw beside what it sees on a quiet gateway. `make test` runs a slice of each, `make
attacks` all of it.
"""
