UNKNOWN_ID = "5c0f3a7e-1d2b-4c3d-8e4f-9a0b1c2d3e4f"
"""No row has it. Constant, because pytest-xdist's workers must collect the same tests."""
