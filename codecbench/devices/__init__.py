"""Device profiles: a model's layers, the seconds that a profile predicts for them, and the fit of a profile."""
