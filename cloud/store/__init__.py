"""What the cloud keeps: the database and its tables, the artifact store, the image repository, patches."""
