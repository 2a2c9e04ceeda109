"""The services every agent has."""
