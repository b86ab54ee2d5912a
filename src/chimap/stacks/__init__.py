"""Several scans of one head in (nearly) one position: thick-slice stacks joined to one isotropic volume, repeats averaged."""
