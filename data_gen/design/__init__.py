"""Cameras designed for a task: the least variance that any estimate of regional uptakes can have, and its gradient."""
