"""What a plate is: its normal form, the formats of regions, and which characters are taken for which."""
