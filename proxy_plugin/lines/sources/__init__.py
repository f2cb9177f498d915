"""Files of lines that the gateway writes itself, for batches that are made of them (worker processes)."""
