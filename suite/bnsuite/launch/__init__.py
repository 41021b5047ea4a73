"""Where measured processes run: how they are started, kept quiet, listened to, limited in time and ended."""
