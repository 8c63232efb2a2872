//! What is remembered of labs, nodes and links: the values of the store.
