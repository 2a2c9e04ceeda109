"""The agent of Yumna Tunnel: dials the master and runs what it asks. Needs Python 3.9 and no Django."""

__version__ = "0.1.0"
