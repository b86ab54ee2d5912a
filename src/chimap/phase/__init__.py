"""From wrapped phase to the total field: unwrapping, phase offsets, echo combination."""
