//! The XenStore exchange.
