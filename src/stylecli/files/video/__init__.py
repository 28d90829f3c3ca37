"""Films and animations, read and written by PyAV and Pillow."""
