"""What workspaces are told of their batches: signed, sent until it is taken, and never twice under two ids."""
