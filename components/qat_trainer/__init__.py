"""QATTrainer: weights and ranges trained in the arithmetic that ships."""
