"""The lab in a terminal.

For people without Jupyter. Nothing lives here but the command line.

    python -m protocol
"""
