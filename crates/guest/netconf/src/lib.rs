//! A guest's network configuration: from the host's description to the files of each distribution.
