"""Kwapi measures the electric power and energy of machines."""
