"""The report as one HTML file: the words of its README, and the data behind them to look at."""
