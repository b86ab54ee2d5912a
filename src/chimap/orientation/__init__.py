"""Several positions of one head: registration, one susceptibility map from all of them, and the susceptibility tensor."""
