//! A channel: an exchange paired with a parser and a policy, supervised on its own (R-D5).
