"""What happens in a run, told to TensorBoard, MLflow or Weights & Biases. A tracker runs in a process of its own."""
