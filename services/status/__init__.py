"""Whether certificates are in good standing: look-ups, and the watch that proves how fresh they are. Reads only."""
