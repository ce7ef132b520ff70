"""What systems are made of: the training loop, sequences, negatives. No system is named here."""
