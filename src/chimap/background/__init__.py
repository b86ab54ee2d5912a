"""Background field removal, one file a method."""
