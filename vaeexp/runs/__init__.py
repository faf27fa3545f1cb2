"""What is kept of a trained trial, and what can be done with it again."""
