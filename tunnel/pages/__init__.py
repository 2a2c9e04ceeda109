"""The pages about nodes, inside the admin."""
