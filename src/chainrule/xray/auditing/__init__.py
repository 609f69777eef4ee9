"""An audit: what is wrong with a program before it breaks, found and provoked."""
