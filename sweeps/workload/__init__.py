"""What trains: the protocol `Lanes`, and lanes in worker processes."""
