"""Recordings of shells: what a program wrote, never what was typed, as asciicast files that any player plays."""
