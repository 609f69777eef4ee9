"""What commands do that need no clone: descents compared, and the explorer's page."""
