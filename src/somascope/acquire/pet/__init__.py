"""Positron emission tomography: from coincidences to activity in Bq/ml and standardised uptake."""
