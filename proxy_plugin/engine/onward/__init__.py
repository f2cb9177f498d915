"""Steps of parts whose failed lines go on to other parts."""
