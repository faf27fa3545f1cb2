"""Workers on a Ray cluster. Imported when a study asks for them."""
