//! Early boot: finds what a host left for this instance.
