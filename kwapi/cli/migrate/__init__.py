"""From the Kwapi of 2013: its configuration and its RRD files."""
