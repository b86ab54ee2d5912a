"""What users want to know from a map: reference, regions."""
