"""From a text to a vector, and to what of the text the model could not see."""
