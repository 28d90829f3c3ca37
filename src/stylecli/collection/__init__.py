"""Models: added to the user's own and removed again, and described for people."""
