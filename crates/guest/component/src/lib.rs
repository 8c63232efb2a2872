//! Ephemeral components: bus names whose requests are served by running scripts.
