"""A network, two tasks, a dataset and a loss that the package does not have: each is one module and one YAML file."""
