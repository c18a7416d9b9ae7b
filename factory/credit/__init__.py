"""What an adapter gained, whose examples gained it, and who is paid."""
