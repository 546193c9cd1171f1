"""Registration beside its peers: known maps, label overlap, real pairs, capture range."""
