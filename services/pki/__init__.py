"""The signing core: what is asked for, what may be signed, and the signing itself.

Pure: no files, no network, no clock. What changes from run to run (time, serial numbers, keys) is passed in.
"""
