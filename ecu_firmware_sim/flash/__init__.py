"""Flash memory with NOR semantics, and what is kept in it: layout, redundant records, non-volatile memory."""
