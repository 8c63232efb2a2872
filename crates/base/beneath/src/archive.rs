//! Members of a tar stream.
