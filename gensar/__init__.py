"""GenSAR, the method of the paper: joint identifiers, prompts, training tasks and the system."""
