"""The Uptane Primary: verification of metadata. Pure judgement; files and network are the callers'."""
