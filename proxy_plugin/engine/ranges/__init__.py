"""Work of one step that several workers do at once, each on a range of lines, and what joins it."""
