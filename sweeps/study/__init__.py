"""What a study is: from a YAML file to one checked `Study`."""
