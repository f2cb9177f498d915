"""Parts of the merge: lines of the ledger, ordinary lines, ranges that are joined."""
