"""Which component matters."""
