"""Statistics of scores against labels: numpy in, numbers out."""
