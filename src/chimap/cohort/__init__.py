"""Many scans: side by side on one machine or a cluster, and what they say together."""
