"""What people make of an event: confirmed, rejected, corrected, and who may say so when."""
