//! The OpenStack agent's JSON form.
