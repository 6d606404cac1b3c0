"""What the cloud keeps: database, artifacts, images and patches."""
