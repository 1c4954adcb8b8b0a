"""The command line for people. It shows and asks; what to do is decided by the app, and Azure is played by localcloud."""
