"""The cloud's storage: the database and its tables, the artifact store, the image repository, and patches."""
