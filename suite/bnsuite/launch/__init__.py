"""Measured processes: started, isolated, limited in time and ended, in the environment that is judged."""
