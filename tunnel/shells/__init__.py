"""Shells of nodes as the panel has them: their rows, who looks at them, and the terminal in a browser."""
