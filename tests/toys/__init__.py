"""A network, two tasks, a dataset and a loss from outside the package, each in one module and one YAML file."""
