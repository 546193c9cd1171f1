"""Single photon emission tomography: from a rotating camera's projections to activity."""
