"""What operators are told in numbers: the list of figures, how long things take, and spans for OpenTelemetry."""
