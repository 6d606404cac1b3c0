"""What was on a bus: recording, file formats, statistics, Wireshark and DBC."""
