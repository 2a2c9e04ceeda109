"""What travels with the agent, unchanged: see vendor.json for versions and hashes, and each LICENSE.

The agent always uses these copies, whatever the node has installed, so that every node runs the code the
tests ran. `tools/vendor_websocket.py` refreshes them.
"""
