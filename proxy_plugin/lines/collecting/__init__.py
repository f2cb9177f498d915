"""Parts of the collect: ranges of large results, whose rows are joined."""
