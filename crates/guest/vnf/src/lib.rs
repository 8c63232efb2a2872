//! VNF lifecycle management inside a guest.
#![deny(unsafe_code)]
