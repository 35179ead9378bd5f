"""Inside a trained model: states of its layers, their moments, gradients, and interventions."""
