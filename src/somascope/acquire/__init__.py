"""What a scanner measured becomes an image: operators, solvers, priors, one room per modality."""
