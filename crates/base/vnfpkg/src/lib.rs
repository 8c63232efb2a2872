//! VNF packages: format, validation, extraction, signing. Knows nothing of nodes.
#![forbid(unsafe_code)]
