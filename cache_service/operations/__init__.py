"""What images and chat each know: where the prompt is, what changes the output, what a complete answer is."""
