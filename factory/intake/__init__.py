"""From a contributed file to a frozen dataset version."""
