"""What a network is asked: classes or values, its loss, its scores, and the figure that its training is watched by."""
