"""What all packages stand on: errors, grids and energy axes, events, seeded random numbers, autograd, files.

This package imports no other package of ours. Importing it loads nothing, so that commands can tell errors
and show help without torch.
"""
