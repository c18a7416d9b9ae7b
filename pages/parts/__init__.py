"""The larger pieces that pages are put together from."""
