//! Signed image lists: the HEPiX format, its S/MIME envelope, and whom to trust.
