"""What a machine has, as plain facts; probing accelerators is the engine's."""
