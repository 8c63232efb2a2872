//! The QEMU guest agent's form.
