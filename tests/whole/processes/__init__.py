"""What needs a process of its own beside the test, or a disk that fills up."""
