"""A network, a loss, an attack, a phantom and a task for hspi-learn, one in each module."""
